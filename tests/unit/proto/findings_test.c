/* The list of findings: its order and its two forms. */
#include "proto/findings.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static const struct finding full = {
    .level = FINDING_ERROR,
    .code = 106,
    .file = "b.yaml",
    .line = 4,
    .column = 7,
    .object = {"VirtualService default/reviews", 30},
    .path = {"spec.http[0].timeout", 20},
    .message = {"must be positive, got \"-1s\"", 27},
    .fix = {"write 1s", 8},
};

static void one_finding_prints_what_it_has(void **state)
{
    (void)state;
    struct finding bare = {
        .level = FINDING_INFO, .code = 7, .file = "", .message = STR("so it is")};
    struct finding in_file = {.level = FINDING_WARNING,
                              .code = 115,
                              .file = "a",
                              .message = STR("odd"),
                              .path = STR("x")};
    const struct {
        const struct finding *finding;
        const char *text;
    } cases[] = {
        {&full, "b.yaml:4:7: error OG0106 VirtualService default/reviews: spec.http[0].timeout: "
                "must be positive, got "
                "\"-1s\"; write 1s\n"},
        {&bare, "info OG0007 so it is\n"},
        {&in_file, "a: warning OG0115 x: odd\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        findings_print(cases[i].finding, &b);
        assert_true(str_eq_c(buf_str(&b), cases[i].text));
        buf_fini(&b);
    }
}

static void all_print_by_file_line_and_column_and_else_as_found(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct findings f;
    findings_init(&f, arena);
    static const struct {
        const char *file;
        unsigned line, column;
        const char *message;
    } in[] = {{"b", 1, 1, "4"}, {"a", 10, 1, "3"}, {"a", 9, 5, "2"},
              {"a", 9, 1, "1"}, {"b", 1, 1, "5"},  {"", 0, 0, "0"}};
    char name[2] = "";
    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        name[0] = in[i].file[0]; /* texts are copied */
        findings_add(&f, &(struct finding){.level = i % 2 ? FINDING_WARNING : FINDING_ERROR,
                                           .file = name,
                                           .line = in[i].line,
                                           .column = in[i].column,
                                           .message = str_of(in[i].message)});
    }
    assert_int_equal(f.errors, 3);
    assert_int_equal(f.warnings, 3);
    struct buf b = {0};
    findings_print_all(&f, &b);
    assert_true(str_eq_c(
        buf_str(&b), "warning OG0000 0\na:9:1: warning OG0000 1\na:9:5: error OG0000 2\n"
                     "a:10:1: warning OG0000 3\nb:1:1: error OG0000 4\nb:1:1: error OG0000 5\n"));
    buf_fini(&b);
    arena_free(&arena);
}

static void json_has_every_member(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct findings f;
    struct buf b = {0};
    findings_init(&f, arena);
    findings_json(&f, &b);
    assert_true(str_eq_c(buf_str(&b), "[]"));
    buf_clear(&b);
    findings_add(&f, &full);
    findings_add(&f, &(struct finding){.level = FINDING_INFO, .code = 1, .file = "c"});
    findings_json(&f, &b);
    assert_true(str_eq_c(
        buf_str(&b),
        "[{\"code\":\"OG0106\",\"level\":\"error\",\"message\":\"must be positive, got "
        "\\\"-1s\\\"\",\"origin\":"
        "\"VirtualService "
        "default/"
        "reviews\",\"path\":\"spec.http[0].timeout\",\"file\":\"b.yaml\",\"line\":4,\"column\":7,"
        "\"fix\":\"write "
        "1s\"},{\"code\":\"OG0001\",\"level\":\"info\",\"message\":\"\",\"origin\":\"\",\"path\":"
        "\"\",\"file\":"
        "\"c\",\"line\":0,\"column\":0,\"fix\":\"\"}]"));
    buf_fini(&b);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_finding_prints_what_it_has),
        cmocka_unit_test(all_print_by_file_line_and_column_and_else_as_found),
        cmocka_unit_test(json_has_every_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
