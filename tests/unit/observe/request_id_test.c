/* Identifiers of requests. */
#include "sidecar/observe/request_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void a_request_id_is_a_random_uuid(void **state)
{
    (void)state;
    struct rng r;
    char before[REQUEST_ID_CAP] = "", text[REQUEST_ID_CAP];
    rng_seed(&r, 1);
    for (unsigned i = 0; i < 1000; i++) {
        assert_ptr_equal(request_id_make(&r, text), text);
        assert_int_equal(strlen(text), 36);
        for (size_t k = 0; k < 36; k++) {
            if (k == 8 || k == 13 || k == 18 || k == 23)
                assert_int_equal(text[k], '-');
            else
                assert_non_null(strchr("0123456789abcdef", text[k]));
        }
        assert_int_equal(text[14], '4');
        assert_non_null(strchr("89ab", text[19]));
        assert_string_not_equal(text, before);
        memcpy(before, text, sizeof(text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_request_id_is_a_random_uuid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
