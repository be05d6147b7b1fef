/* Any octets through every DER reader: what is read lies inside the input, a failed read changes nothing, and what was
 * read as an element is written again to the same octets. */
#include <stdlib.h>

#include "crypto/der.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_moved(rl_err err, rl_span before, rl_span after, rl_span contents)
{
    if (err != RL_OK) {
        check(after.p == before.p && after.n == before.n);
        return;
    }
    check(after.n < before.n && after.p + after.n == before.p + before.n);
    check(contents.n == 0 || (contents.p >= before.p && contents.p + contents.n <= after.p));
}

static void read_values(rl_span in)
{
    rl_span rest, v = {0};
    bool flag;
    uint64_t number;
#define READ(call)                                                                                                     \
    do {                                                                                                               \
        rest = in;                                                                                                     \
        v = (rl_span){0};                                                                                              \
        check_moved(call, in, rest, v);                                                                                \
    } while (0)
    READ(rl_der_sequence(&rest, &v));
    READ(rl_der_octets(&rest, &v));
    READ(rl_der_oid(&rest, &v));
    READ(rl_der_bool(&rest, &flag));
    READ(rl_der_uint(&rest, &number));
    READ(rl_der_serial(&rest, &v, &flag));
    READ(rl_der_null(&rest));
}

static void write_again(uint8_t tag, rl_span contents, rl_span whole)
{
    uint8_t *memory = malloc(whole.n);
    rl_der_writer w;
    rl_span out;
    check(memory != NULL);
    rl_der_init(&w, memory, whole.n);
    rl_der_put(&w, tag, contents);
    check(rl_der_finish(&w, &out) == RL_OK && rl_span_eq(out, whole));
    rl_der_init(&w, memory, whole.n);
    rl_der_open(&w, tag);
    rl_der_put_raw(&w, contents);
    rl_der_close(&w);
    check(rl_der_finish(&w, &out) == RL_OK && rl_span_eq(out, whole));
    free(memory);
}

static void walk(rl_span in, unsigned depth)
{
    uint8_t tag;
    rl_span contents, whole;
    for (;;) {
        rl_span before = in;
        read_values(in);
        rl_err err = rl_der_any(&in, &tag, &contents, &whole);
        check_moved(err, before, in, err == RL_OK ? contents : (rl_span){0});
        if (err != RL_OK)
            return;
        write_again(tag, contents, whole);
        if ((tag & 0x20) && depth < 16)
            walk(contents, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk(rl_span_of(data, size), 0);
    return 0;
}
