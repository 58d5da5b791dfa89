#include "control/agent/agents_priv.h"
#include "control/check/check.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"

#include <stdlib.h>
#include <string.h>

/* A report from text, in arena. */
static const AGENT(Report) *report_of(struct arena *arena, const char *yaml)
{
    const struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    struct findings findings;
    struct node **docs;
    findings_init(&findings, arena);
    assert_int_equal(node_parse(str_of(yaml), "test", arena, &findings, &docs), 1);
    const void *m = codec_from_node(&outrigger__agent__v1__report__descriptor, docs[0], "", &options, arena, &findings);
    assert_non_null(m);
    return m;
}

static void apply(struct seen *s, const char *yaml)
{
    struct arena *arena = arena_new(1024);
    struct err err = {0};
    assert_true(seen_apply(s, report_of(arena, yaml), &err));
    arena_free(&arena);
}

static char *rows(const struct seen *s, const struct registry *registry)
{
    struct buf out = {0};
    bool is_first = true;
    seen_write(s, STR("web.shop"), registry, &is_first, &out);
    assert_int_equal(is_first, s->rows == 0);
    buf_append_byte(&out, '\n');
    return buf_take(&out);
}

static void expect(const struct seen *s, const char *text)
{
    char *got = rows(s, NULL);
    assert_string_equal(got, text);
    free(got);
}

#define NO_COUNTS "\"limit\": {\"cx\": 0, \"pending\": 0, \"rq\": 0, \"retry\": 0}, \"overflow\": {\"cx\": 0, \"pending\": 0, \"rq\": 0, \"retry\": 0}}"

static void rows_are_hosts_sorted_by_cluster(void **state)
{
    struct seen s = {0};
    (void)state;
    apply(&s, "clusters:\n"
              "- {name: b, active: {cx: 1, pending: 2, rq: 3, retry: 4}, limit: {cx: 5, pending: 6, rq: 7, retry: 8},\n"
              "   overflow: {cx: 9, pending: 10, rq: 11, retry: 18446744073709551615}, has_hosts: true,\n"
              "   hosts: [{address: '10.0.0.1:80'}, {address: '10.0.0.2:80', state: EJECTED, until_us: 4000000, reason: why}]}\n"
              "- {name: a}\n");
    expect(&s,
           "\n{\"proxy\": \"web.shop\", \"cluster\": \"a\", \"host\": \"\", \"state\": \"none\", \"until\": null, \"reason\": null, "
           "\"active\": {\"cx\": 0, \"pending\": 0, \"rq\": 0, \"retry\": 0}, " NO_COUNTS
           ",\n{\"proxy\": \"web.shop\", \"cluster\": \"b\", \"host\": \"10.0.0.1:80\", \"state\": \"healthy\", \"until\": null, "
           "\"reason\": null, \"active\": {\"cx\": 1, \"pending\": 2, \"rq\": 3, \"retry\": 4}, \"limit\": {\"cx\": 5, \"pending\": 6, "
           "\"rq\": 7, \"retry\": 8}, \"overflow\": {\"cx\": 9, \"pending\": 10, \"rq\": 11, \"retry\": 18446744073709551615}}"
           ",\n{\"proxy\": \"web.shop\", \"cluster\": \"b\", \"host\": \"10.0.0.2:80\", \"state\": \"ejected\", \"until\": "
           "\"1970-01-01T00:00:04.000Z\", \"reason\": \"why\", \"active\": {\"cx\": 1, \"pending\": 2, \"rq\": 3, \"retry\": 4}, "
           "\"limit\": {\"cx\": 5, \"pending\": 6, \"rq\": 7, \"retry\": 8}, \"overflow\": {\"cx\": 9, \"pending\": 10, \"rq\": 11, "
           "\"retry\": 18446744073709551615}}\n");
    assert_int_equal(s.rows, 3);
    seen_fini(&s);
}

static void what_is_not_told_stays(void **state)
{
    struct seen s = {0};
    (void)state;
    apply(&s, "{clusters: [{name: a, has_hosts: true, hosts: [{address: 'x'}, {address: 'y'}]}, {name: b}]}");
    apply(&s, "{clusters: [{name: a, active: {rq: 1}}]}");
    assert_int_equal(s.rows, 3);
    char *text = rows(&s, NULL);
    assert_non_null(strstr(text, "\"host\": \"y\""));
    assert_non_null(strstr(text, "\"rq\": 1"));
    free(text);
    apply(&s, "{clusters: [{name: a, has_hosts: true}], removed: [b, nobody]}");
    assert_int_equal(s.rows, 1);
    apply(&s, "{is_whole: true}");
    assert_int_equal(s.rows, 0);
    assert_int_equal(s.bytes, 0);
    expect(&s, "\n");
}

static void the_pod_of_a_host_is_shown_where_it_is_ours(void **state)
{
    struct seen s = {0};
    struct fixture f;
    (void)state;
    fixture_read(&f, POD("reviews-1", "10.0.0.1", "app: reviews"));
    struct registry_options options = {STR("cluster.local"), STR("root"), NULL};
    struct registry *registry = registry_build(f.objects.v, f.objects.count, &options);
    assert_true(str_eq_c(seen_pod(registry, STR("10.0.0.1:8080")), "reviews-1"));
    assert_true(str_eq_c(seen_pod(registry, STR("10.0.0.2:8080")), ""));
    assert_true(str_eq_c(seen_pod(registry, STR("10.0.0.1")), ""));
    assert_true(str_eq_c(seen_pod(registry, STR(":80")), ""));
    assert_true(str_eq_c(seen_pod(registry, STR("")), ""));
    apply(&s, "{clusters: [{name: a, has_hosts: true, hosts: [{address: '10.0.0.1:80'}]}]}");
    char *text = rows(&s, registry);
    assert_non_null(strstr(text, "\"host\": \"10.0.0.1:80\", \"pod\": \"reviews-1\", \"state\""));
    free(text);
    seen_fini(&s);
    registry_free(&registry);
    fixture_fini(&f);
}

static void text_of_a_peer_is_cut_and_cleaned(void **state)
{
    struct arena *arena = arena_new(256);
    (void)state;
    static const struct {
        const char *text;
        size_t max;
        const char *want;
    } cases[] = {
        {"plain", 10, "plain"},
        {"plain", 3, "pla"},
        {"", 3, ""},
        {"\033[31mred\r\n\t\177", 50, "?[31mred????"},
        {"c1 \xc2\x9b!", 50, "c1 ?!"},
        {"caf\xc3\xa9", 50, "caf\xc3\xa9"},
        {"caf\xc3\xa9", 4, "caf"}, /* no half of a character */
        {"\xc2\xa0", 50, "\xc2\xa0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str got = agents_clean(arena, cases[i].text, cases[i].max);
        assert_string_equal(got.p, cases[i].want);
        assert_int_equal(got.n, strlen(cases[i].want));
    }
    arena_free(&arena);
}

static void a_bound_that_is_passed_is_named(void **state)
{
    struct seen s = {0};
    struct err err = {0};
    struct arena *arena = arena_new(1024);
    struct buf yaml = {0};
    (void)state;
    buf_append_c(&yaml, "{clusters: [{name: N, has_hosts: true, hosts: [");
    for (unsigned i = 0; i < 2000; i++)
        buf_append_c(&yaml, "{address: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'},");
    buf_append_c(&yaml, "]}]}");
    char *text = buf_take(&yaml);
    AGENT(Report) *r = (AGENT(Report) *)(uintptr_t)report_of(arena, text);
    bool ok = true;
    unsigned n = 0;
    for (; ok && n < 1000; n++) {
        r->clusters[0]->name = (char *)(uintptr_t)arena_printf(arena, "c%u", n).p;
        ok = seen_apply(&s, r, &err);
    }
    assert_false(ok);
    assert_true(n > 10 && s.bytes < SEEN_BYTES_MAX + (1u << 20));
    assert_non_null(strstr(err.text, "takes more than 16777216 bytes"));
    free(text);
    arena_free(&arena);
    seen_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_hosts_sorted_by_cluster),
        cmocka_unit_test(what_is_not_told_stays),
        cmocka_unit_test(the_pod_of_a_host_is_shown_where_it_is_ours),
        cmocka_unit_test(text_of_a_peer_is_cut_and_cleaned),
        cmocka_unit_test(a_bound_that_is_passed_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
