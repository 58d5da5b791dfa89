/* YAML and JSON into nodes: kinds, places, documents, and every fault of a text. */
#include "proto/codec.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#define TEXT(literal)                   \
    {                                   \
        "" literal, sizeof(literal) - 1 \
    }

struct parsed {
    struct arena *arena;
    struct findings findings;
    struct node **docs;
    unsigned count;
    struct buf told;
};

static void parse(struct parsed *p, struct str text, const char *file)
{
    *p = (struct parsed){.arena = arena_new(4096)};
    findings_init(&p->findings, p->arena);
    p->count = node_parse(text, file, p->arena, &p->findings, &p->docs);
    findings_print_all(&p->findings, &p->told);
    buf_append_byte(&p->told, '\0');
}

static const char *told(struct parsed *p)
{
    return (const char *)buf_head(&p->told);
}

static void parsed_fini(struct parsed *p)
{
    buf_fini(&p->told);
    arena_free(&p->arena);
}

static void scalars_follow_the_core_schema(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum node_kind kind;
    } cases[] = {
        {"null", NODE_NULL},       {"Null", NODE_NULL},         {"~", NODE_NULL},
        {"", NODE_NULL},           {"nULL", NODE_STRING},       {"true", NODE_BOOL},
        {"FALSE", NODE_BOOL},      {"tRUE", NODE_STRING},       {"y", NODE_STRING},
        {"0", NODE_INT},           {"-17", NODE_INT},           {"+3", NODE_INT},
        {"0x1F", NODE_INT},        {"0o17", NODE_INT},          {"0o8", NODE_STRING},
        {"0x", NODE_STRING},       {"0b1", NODE_STRING},        {"1_000", NODE_STRING},
        {"1.5", NODE_DOUBLE},      {".5", NODE_DOUBLE},         {"1.", NODE_DOUBLE},
        {"1e3", NODE_DOUBLE},      {"-1.5E-3", NODE_DOUBLE},    {".", NODE_STRING},
        {"1e", NODE_STRING},       {"e3", NODE_STRING},         {".inf", NODE_DOUBLE},
        {"-.Inf", NODE_DOUBLE},    {".nan", NODE_DOUBLE},       {"inf", NODE_STRING},
        {"--1", NODE_STRING},      {"1.2.3", NODE_STRING},      {"10.0.0.1", NODE_STRING},
        {"12:30", NODE_STRING},    {"2026-11-21", NODE_STRING}, {"'5'", NODE_STRING},
        {"\"true\"", NODE_STRING}, {"!!str 5", NODE_STRING},    {"! 5", NODE_STRING},
        {"!!int 5", NODE_INT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        struct buf text = {0};
        buf_printf(&text, "v: %s\n", cases[i].text);
        parse(&p, buf_str(&text), "f");
        if (p.count != 1)
            fail_msg("%s: %s", cases[i].text, told(&p));
        const struct node *v = node_get(p.docs[0], "v");
        if (node_kind(v) != cases[i].kind)
            fail_msg("%s: kind %d", cases[i].text, node_kind(v));
        buf_fini(&text);
        parsed_fini(&p);
    }
}

static void a_json_scalar_is_what_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum node_kind kind;
        const char *value;
    } cases[] = {
        {"null", NODE_NULL, "null"},
        {"true", NODE_BOOL, "true"},
        {"false", NODE_BOOL, "false"},
        {"-0", NODE_INT, "-0"},
        {"12", NODE_INT, "12"},
        {"1.5", NODE_DOUBLE, "1.5"},
        {"1e+9", NODE_DOUBLE, "1e+9"},
        {"\"\"", NODE_STRING, ""},
        {"\"a\\n\\u20ac\\\"\"", NODE_STRING, "a\n\xe2\x82\xac\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        struct buf text = {0};
        buf_printf(&text, " [ %s\t]\r\n", cases[i].text);
        parse(&p, buf_str(&text), "f.json");
        assert_int_equal(p.count, 1);
        assert_int_equal(node_kind(node_at(p.docs[0], 0)), cases[i].kind);
        assert_true(str_eq_c(node_text(node_at(p.docs[0], 0)), cases[i].value));
        buf_fini(&text);
        parsed_fini(&p);
    }
}

static void every_node_has_its_place(void **state)
{
    (void)state;
    static const struct str texts[] = {TEXT("a:\n  b:\n  - x\n  - c: 1\n"),
                                       TEXT("{\"a\":\n  {\"b\":\n  [\n \"x\",{\"c\":1}]}}")};
    static const unsigned places[][2][2] = {{{3, 5}, {4, 8}}, {{4, 2}, {4, 11}}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct parsed p;
        parse(&p, texts[i], "dir/f.yaml");
        assert_string_equal(told(&p), "");
        assert_int_equal(p.count, 1);
        const struct node *x = node_at_path(p.docs[0], "a.b[0]"),
                          *c = node_at_path(p.docs[0], "a.b[1].c");
        assert_int_equal(node_line(x), places[i][0][0]);
        assert_int_equal(node_column(x), places[i][0][1]);
        assert_int_equal(node_line(c), places[i][1][0]);
        assert_int_equal(node_column(c), places[i][1][1]);
        assert_string_equal(node_file(c), "dir/f.yaml");
        parsed_fini(&p);
    }
}

static void a_path_leads_to_the_deepest_node_that_exists(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, STR("spec: {http: [{a: 1}], labels: {app: 1, app.kubernetes.io/name: 2}}"), "f");
    const struct node *root = p.docs[0];
    assert_ptr_equal(node_at_path(root, ""), root);
    assert_ptr_equal(node_at_path(root, "nothing.here"), root);
    assert_true(str_eq_c(node_text(node_at_path(root, "spec.http[0].a")), "1"));
    assert_true(str_eq_c(node_text(node_at_path(root, "spec.labels.app")), "1"));
    assert_true(str_eq_c(node_text(node_at_path(root, "spec.labels.app.kubernetes.io/name")), "2"));
    assert_ptr_equal(node_at_path(root, "spec.http[1].a"), node_at_path(root, "spec.http"));
    assert_ptr_equal(node_at_path(root, "spec.http[x]"), node_at_path(root, "spec.http"));
    assert_ptr_equal(node_at_path(root, "spec.http[0].a.b"), node_at_path(root, "spec.http[0].a"));
    parsed_fini(&p);
}

static void documents_are_counted_without_the_empty_ones(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned count;
    } cases[] = {{"", 0},
                 {"# nothing\n", 0},
                 {"---\n---\n", 0},
                 {"a: 1\n---\nb: 2\n", 2},
                 {"---\na: 1\n---\n# c\n---\nb: 2\n...\n", 2}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        parse(&p, str_of(cases[i].text), "f");
        assert_int_equal(p.count, cases[i].count);
        assert_int_equal(p.findings.count, 0);
        parsed_fini(&p);
    }
}

static void a_bad_document_leaves_the_others(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, STR("a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n"), "f");
    assert_int_equal(p.count, 2);
    assert_non_null(node_get(p.docs[1], "c"));
    assert_string_equal(
        told(&p),
        "f:4:1: error OG0102 the key \"b\" stands twice, first in line 3; keep one of the two\n");
    parsed_fini(&p);
}

struct fault_case {
    const char *what;
    struct str text;
    const char *file, *want;
};

static const struct fault_case fault_cases[] = {
    {"a syntax error", TEXT("a: [1\nb: 2\n"), "f",
     "f:2:2: error OG0101 not YAML: did not find expected ',' or ']' while parsing a flow "
     "sequence\n"},
    {"a tab for indentation", TEXT("a:\n\tb: 1\n"), "f",
     "f:2:1: error OG0101 not YAML: found character that cannot start any token while scanning for "
     "the next token\n"},
    {"a key twice", TEXT("s: {x: 1, \"x\": 2}"), "f",
     "f:1:11: error OG0102 s: the key \"x\" stands twice, first in line 1; keep one of the two\n"},
    {"a key twice in JSON", TEXT("{\"x\": 1,\n \"x\": 2}"), "f.json",
     "f.json:2:2: error OG0102 the key \"x\" stands twice, first in line 1; keep one of the two\n"},
    {"a key that is a list", TEXT("? [a]\n: b\n"), "f",
     "f:1:3: error OG0101 a key that is not a text; write a text\n"},
    {"a merge key", TEXT("a: &a {x: 1}\nb: {<<: *a}\n"), "f",
     "f:2:5: error OG0101 b: YAML's merge key << is not read; write the fields out\n"},
    {"an alias without an anchor", TEXT("a: *b\n"), "f",
     "f:1:4: error OG0101 a: the alias *b has no anchor before it\n"},
    {"an alias to what encloses it", TEXT("a: &a\n  b: *a\n"), "f",
     "f:2:6: error OG0101 a.b: the alias *a has no anchor before it\n"},
    {"a tag", TEXT("a: !!binary aGk=\n"), "f",
     "f:1:4: error OG0101 a: the YAML tag tag:yaml.org,2002:binary is not read; leave the tag "
     "out\n"},
    {"a tag of somebody", TEXT("- !secret x\n"), "f",
     "f:1:3: error OG0101 [0]: the YAML tag !secret is not read; leave the tag out\n"},
    {"a NUL in YAML", TEXT("a: \"x\\0y\"\n"), "f",
     "f:1:4: error OG0106 a: a text with a NUL character in it; take it out\n"},
    {"a NUL in a key", TEXT("\"x\\0y\": 1\n"), "f",
     "f:1:1: error OG0106 a text with a NUL character in it; take it out\n"},
    {"a NUL in JSON", TEXT("{\"a\": \"x\\u0000\"}"), "f",
     "f:1:7: error OG0106 a: a text with a NUL character in it; take it out\n"},
    {"bytes that are not UTF-8", TEXT("a: b\nc: \xff\n"), "f",
     "f:2:1: error OG0101 this line is not UTF-8; save the file as UTF-8\n"},
    {"yes and its kin", TEXT("- yes\n- Off\n- 'no'\n- on: 1\n"), "f",
     "f:1:3: warning OG0110 [0]: yes is read as a text, not as a truth value; write true or false, "
     "or put it in quotes\nf:2:3: warning OG0110 [1]: Off is read as a text, not as a truth value; "
     "write true or false, or put it in quotes\n"},
    {"a leading zero", TEXT("- 010\n- 0\n- 0.5\n- 0o10\n"), "f",
     "f:1:3: warning OG0110 [0]: 010 is read as a decimal number, not as octal; leave out the "
     "leading zero, or write 0o for octal\n"},
    {"JSON without its end", TEXT("{\"a\": [1,"), "f.json",
     "f.json:1:10: error OG0101 not JSON: the text ends too early\n"},
    {"JSON with more behind it", TEXT("{} {}"), "f.json",
     "f.json:1:4: error OG0101 not JSON: something stands behind the end of the value\n"},
    {"JSON with a comma too many", TEXT("[1,]"), "f.json",
     "f.json:1:4: error OG0101 not JSON: a value that is none of JSON's\n"},
    {"JSON with a leading zero", TEXT("[01]"), "f.json",
     "f.json:1:4: error OG0101 not JSON: a value that is none of JSON's\n"},
    {"JSON with a control character", TEXT("[\"a\nb\"]"), "f.json",
     "f.json:1:5: error OG0101 not JSON: a control character in a text\n"},
    {"JSON with half a surrogate pair", TEXT("[\"\\ud800x\"]"), "f.json",
     "f.json:1:9: error OG0101 not JSON: half of a surrogate pair\n"},
    {"JSON with an unknown escape", TEXT("[\"\\x41\"]"), "f.json",
     "f.json:1:5: error OG0101 not JSON: an unknown escape\n"},
    {"JSON with a text that does not end", TEXT("[\"abc\\"), "f.json",
     "f.json:1:7: error OG0101 not JSON: a text without an end\n"},
    {"JSON without a colon", TEXT("{\"a\" 1}"), "f.json",
     "f.json:1:6: error OG0101 not JSON: a colon belongs here\n"},
    {"JSON without a comma", TEXT("[1 2]"), "f.json",
     "f.json:1:4: error OG0101 not JSON: a comma or ] belongs here\n"},
    {"JSON with a bare key", TEXT("{a: 1}"), "f.json",
     "f.json:1:2: error OG0101 not JSON: a text in double quotes belongs here\n"},
};

static void every_fault_is_told_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fault_cases); i++) {
        struct parsed p;
        parse(&p, fault_cases[i].text, fault_cases[i].file);
        if (strcmp(told(&p), fault_cases[i].want) != 0)
            fail_msg("%s: told %s", fault_cases[i].what, told(&p));
        parsed_fini(&p);
    }
}

static void yamls_flow_form_is_not_taken_for_bad_json(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, STR("{a: 1, b: [x, y]}\n"), "f.yaml");
    assert_string_equal(told(&p), "");
    assert_int_equal(p.count, 1);
    assert_int_equal(node_count(node_get(p.docs[0], "b")), 2);
    parsed_fini(&p);
}

/* ---- Bounds. ---- */

static struct buf repeated(const char *open, unsigned count, const char *close)
{
    struct buf b = {0};
    for (unsigned i = 0; i < count; i++)
        buf_append_c(&b, open);
    for (unsigned i = 0; i < count; i++)
        buf_append_c(&b, close);
    return b;
}

static void nesting_of_100_is_read_and_101_refused(void **state)
{
    (void)state;
    for (unsigned levels = 100; levels <= 101; levels++) {
        for (unsigned json = 0; json < 2; json++) {
            struct buf text = repeated("[", levels, "]");
            struct parsed p;
            if (!json)
                buf_append_c(&text, " # YAML");
            parse(&p, buf_str(&text), "f");
            assert_int_equal(p.count, levels <= CODEC_DEPTH_MAX);
            if (levels > CODEC_DEPTH_MAX)
                assert_non_null(strstr(told(&p), "error OG0103"));
            parsed_fini(&p);
            buf_fini(&text);
        }
    }
}

static void very_deep_nesting_ends_at_once(void **state)
{
    (void)state;
    static const char *const opens[] = {"[", "{a: ", "- "};
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        struct buf text = repeated(opens[i], 100000, "");
        struct parsed p;
        parse(&p, buf_str(&text), "f");
        assert_int_equal(p.count, 0);
        assert_int_equal(p.findings.count, 1);
        assert_int_equal(p.findings.v[0].code, 103);
        parsed_fini(&p);
        buf_fini(&text);
    }
}

static void a_bomb_of_aliases_is_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_c(&text, "a0: &a0 [x, x, x, x, x, x, x, x]\n");
    for (unsigned i = 1; i < 12; i++)
        buf_printf(&text, "a%u: &a%u [*a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u]\n", i, i,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct parsed p;
    parse(&p, buf_str(&text), "f");
    assert_int_equal(p.count, 0);
    assert_int_equal(p.findings.count, 1);
    assert_int_equal(p.findings.v[0].code, 103);
    parsed_fini(&p);
    buf_fini(&text);
}

static void aliases_count_for_the_depth(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_c(&text, "- &a0 []\n");
    for (unsigned i = 1; i < 110; i++)
        buf_printf(&text, "- &a%u [*a%u]\n", i, i - 1);
    struct parsed p;
    parse(&p, buf_str(&text), "f");
    assert_int_equal(p.count, 0);
    assert_int_equal(p.findings.v[0].code, 103);
    parsed_fini(&p);
    buf_fini(&text);
}

static void too_many_values_are_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_byte(&text, '[');
    for (unsigned i = 0; i < 2u << 20; i++)
        buf_append_c(&text, "0,");
    buf_append_c(&text, "0]");
    struct parsed p;
    parse(&p, buf_str(&text), "f");
    assert_int_equal(p.count, 0);
    assert_string_equal(told(&p), "f:1:4194304: error OG0103 [2097151]: more than 2097152 values "
                                  "in one text; split the file\n");
    parsed_fini(&p);
    buf_fini(&text);
}

static void too_long_a_text_is_refused_unread(void **state)
{
    (void)state;
    struct buf text = {0};
    size_t n = (64u << 20) + 1;
    memset(buf_reserve(&text, n), ' ', n);
    buf_commit(&text, n);
    struct parsed p;
    parse(&p, buf_str(&text), "f");
    assert_string_equal(told(&p), "f:1:1: error OG0103 67108865 bytes, more than the 67108864 that "
                                  "are read; split the file\n");
    parsed_fini(&p);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_follow_the_core_schema),
        cmocka_unit_test(a_json_scalar_is_what_it_says),
        cmocka_unit_test(every_node_has_its_place),
        cmocka_unit_test(a_path_leads_to_the_deepest_node_that_exists),
        cmocka_unit_test(documents_are_counted_without_the_empty_ones),
        cmocka_unit_test(a_bad_document_leaves_the_others),
        cmocka_unit_test(every_fault_is_told_with_its_place),
        cmocka_unit_test(yamls_flow_form_is_not_taken_for_bad_json),
        cmocka_unit_test(nesting_of_100_is_read_and_101_refused),
        cmocka_unit_test(very_deep_nesting_ends_at_once),
        cmocka_unit_test(a_bomb_of_aliases_is_refused),
        cmocka_unit_test(aliases_count_for_the_depth),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(too_long_a_text_is_refused_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
