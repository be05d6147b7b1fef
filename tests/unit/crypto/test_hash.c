/* Hashes: digests as FIPS 180-4 prints them, OIDs as OpenSSL knows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/objects.h>

#include "crypto/hash.h"

static void test_digests_of_abc_and_of_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *abc, *nothing; /* sha1sum … sha512sum of coreutils */
    } expected[RL_HASH_COUNT] = {
        [RL_SHA1] = {"a9993e364706816aba3e25717850c26c9cd0d89d", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        [RL_SHA256] = {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                       "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        [RL_SHA384] =
            {"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
             "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"},
        [RL_SHA512] = {"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebb"
                       "d454d4423643ce80e2a9ac94fa54ca49f",
                       "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2"
                       "f63b931bd47417a81a538327af927da3e"},
        [RL_SHA224] = {"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
                       "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"},
    };
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        uint8_t digest[RL_HASH_MAX];
        char text[2 * RL_HASH_MAX + 1];
        assert_int_equal(rl_hash_digest(h, RL_SPAN_LIT("abc"), digest), RL_OK);
        assert_int_equal(rl_hex(rl_span_of(digest, rl_hash_size(h)), text, sizeof(text)), RL_OK);
        assert_string_equal(text, expected[h].abc);
        assert_int_equal(rl_hash_digest(h, (rl_span){0}, digest), RL_OK);
        assert_int_equal(rl_hex(rl_span_of(digest, rl_hash_size(h)), text, sizeof(text)), RL_OK);
        assert_string_equal(text, expected[h].nothing);
    }
}

static void test_names_and_oids_are_openssls(void **state)
{
    (void)state;
    for (unsigned h = 0; h < RL_HASH_COUNT; h++) {
        const ASN1_OBJECT *oid = OBJ_nid2obj(OBJ_sn2nid(rl_hash_name(h)));
        rl_span known = rl_span_of(OBJ_get0_data(oid), OBJ_length(oid));
        rl_hash found;
        assert_true(known.n > 0 && rl_span_eq(rl_hash_oid(h), known));
        assert_int_equal(rl_hash_from_oid(known, &found), RL_OK);
        assert_int_equal(found, h);
        assert_int_equal(rl_hash_from_oid(rl_span_of(known.p, known.n - 1), &found), RL_EUNSUPPORTED);
    }
}

static void test_unknown_oids_are_unsupported(void **state)
{
    (void)state;
    rl_hash found;
    assert_int_equal(rl_hash_from_oid(RL_SPAN_LIT("\x2a\x86\x48\x86\xf7\x0d\x02\x05"), &found),
                     RL_EUNSUPPORTED); /* MD5 */
    assert_int_equal(rl_hash_from_oid((rl_span){0}, &found), RL_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_of_abc_and_of_nothing),
        cmocka_unit_test(test_names_and_oids_are_openssls),
        cmocka_unit_test(test_unknown_oids_are_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
