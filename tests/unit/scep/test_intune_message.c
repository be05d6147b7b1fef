/* What Intune is told, whatever is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/json.h"
#include "scep/intune.h"

/* At most 255 characters (errorDescription), and UTF-8, as JSON has to be. */
static void test_a_reason_of_any_length_can_be_told(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "x", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x94\x91", "\xc3", "\xff"};
    char why[300];
    for (size_t n = 250; n < 260; n++)
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            rl_buf entry = {0};
            scep_intune_entry read;
            json_t *root = NULL;
            memset(why, 'a', n);
            strcpy(why + n, ends[i]);
            assert_int_equal(scep_intune_failure("t-1", RL_SPAN_LIT("csr"), why, 1, &entry), RL_OK);
            assert_int_equal(scep_intune_entry_read(rl_buf_span(&entry), &read), RL_OK);
            assert_int_equal(rl_json_parse(rl_buf_span(&read.body), 4096, &root, NULL), RL_OK);
            const char *told = rl_json_str(json_object_get(root, "notification"), "errorDescription");
            assert_non_null(told);
            assert_in_range(strlen(told), 250, 255);
            assert_memory_equal(told, why, 250);
            json_decref(root);
            rl_buf_free(&read.body);
            rl_buf_free(&entry);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reason_of_any_length_can_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
