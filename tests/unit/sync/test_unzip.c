/* ZIP archives: what Python's zipfile has packed, and what is wrong with it. */
#include "sync/unzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* zipfile.ZipFile(…).writestr(name, text), with ZIP_STORED and ZIP_DEFLATED; the text is {"values":[]} */
static uint8_t packed[2][512];
static size_t packed_n[2];
static const char text[] = "{\"values\":[]}";

static void load(unsigned i, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/fuzz/corpus/fuzz_report/%s", TESTS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    packed_n[i] = fread(packed[i], 1, sizeof(packed[i]), f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    load(0, "stored.zip");
    load(1, "empty.zip");
    return 0;
}

static rl_err unzip(const uint8_t *p, size_t n, const char *suffix, size_t limit, rl_buf *out)
{
    rl_error e = {0};
    rl_err err = rl_unzip(rl_span_of(p, n), suffix, limit, out, &e);
    assert_true(err == RL_OK || e.message[0]);
    return err;
}

static void test_what_was_packed_comes_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rl_buf out = {0};
        assert_int_equal(unzip(packed[i], packed_n[i], ".JSON", 1024, &out), RL_OK);
        assert_int_equal(out.n, sizeof(text) - 1);
        assert_memory_equal(out.p, text, out.n);
        rl_buf_free(&out);
    }
}

static void test_limits_and_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rl_buf out = {0};
        assert_int_equal(unzip(packed[i], packed_n[i], ".json", sizeof(text) - 2, &out), RL_ERANGE);
        assert_int_equal(unzip(packed[i], packed_n[i], ".csv", 1024, &out), RL_EBADMSG);
        assert_int_equal(unzip((const uint8_t *)text, sizeof(text), ".json", 1024, &out), RL_EBADMSG);
        assert_int_equal(unzip(NULL, 0, ".json", 1024, &out), RL_EBADMSG);
        rl_buf_free(&out);
    }
}

/* Whatever octet is cut off or is another: it is refused, or what comes out is the text. */
static void test_damaged_archives(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        for (size_t n = 0; n < packed_n[i]; n++) {
            uint8_t other[512];
            rl_buf out = {0};
            memcpy(other, packed[i], packed_n[i]);
            other[n] ^= 0xff;
            if (unzip(other, packed_n[i], ".json", 1024, &out) == RL_OK) {
                assert_int_equal(out.n, sizeof(text) - 1);
                assert_memory_equal(out.p, text, out.n);
            }
            rl_buf_reset(&out);
            assert_int_not_equal(unzip(packed[i], n, ".json", 1024, &out), RL_OK);
            rl_buf_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_packed_comes_out),
        cmocka_unit_test(test_limits_and_names),
        cmocka_unit_test(test_damaged_archives),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
