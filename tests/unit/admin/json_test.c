/* The layout of JSON answers: Envoy's, one space a level. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void json_is_laid_out_a_line_an_element(void **state)
{
    static const char *const cases[][2] = {
        {"{}", "{}\n"},
        {"{\"a\":[]}", "{\n \"a\": []\n}\n"},
        {"{\"a\":1,\"b\":{\"c\":[true,null]}}",
         "{\n \"a\": 1,\n \"b\": {\n  \"c\": [\n   true,\n   null\n  ]\n }\n}\n"},
        {"[{},{\"x\":{}}]", "[\n {},\n {\n  \"x\": {}\n }\n]\n"},
        {" { \"a\" :\n 1 } ", "{\n \"a\": 1\n}\n"},
        {"{\"a, b\":\"{[\\\"]},: \\\\\"}", "{\n \"a, b\": \"{[\\\"]},: \\\\\"\n}\n"},
        {"\"open", "\"open\n"},
        {"\"\\", "\"\\\n"},
        {"}]", "\n}\n]\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        admin_json_layout(&out, str_of(cases[i][0]));
        char *text = buf_take(&out);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

static void strings_are_escaped(void **state)
{
    (void)state;
    struct buf out = {0};
    admin_json_string(&out, str_n("a\"b\\c\n\0\xc3\xa9", 9));
    char *text = buf_take(&out);
    assert_string_equal(text, "\"a\\\"b\\\\c\\u000a\\u0000\xc3\xa9\"");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_laid_out_a_line_an_element),
        cmocka_unit_test(strings_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
