/* The index of routes: it leaves out only what does not fit, keeps the order, and leaves little to look at. */
#include "route_support.h"

#include "sidecar/base/rng.h"
#include "sidecar/route/route_index.h"

static struct route_match *match_of(struct route_table *t, unsigned i)
{
    return &t->vhosts[0].routes[i].match;
}

static struct header_match *header_of(struct route_table *t, unsigned i, const char *name, const char *value)
{
    struct route_match *m = match_of(t, i);
    struct header_match *v = ARENA_ARRAY(t->arena, struct header_match, m->header_count + 1);
    if (m->header_count > 0)
        memcpy(v, m->headers, m->header_count * sizeof(*v));
    m->headers = v;
    v[m->header_count] = (struct header_match){
        .name = arena_str(t->arena, str_of(name)), .kind = HEADER_STRING, .string.text = arena_str(t->arena, str_of(value))};
    return &v[m->header_count++];
}

static void set_regex(struct route_table *t, unsigned i, const char *pattern)
{
    match_of(t, i)->kind = PATH_REGEX;
    match_of(t, i)->regex = regex_of(t, pattern);
}

/* The candidates for a request, as "3 7 ". */
static char *candidates(const struct route_table *t, const char *path, const char *headers)
{
    struct arena *a = arena_new(512);
    struct buf out = {0};
    struct route_walk w;
    uint32_t at;
    const struct http_request *r = request_of(a, "GET", "h", path, headers);
    for (route_walk_begin(&w, &t->vhosts[0], r, http_path_only(r->path)); route_walk_next(&w, &at);)
        buf_printf(&out, "%u ", at);
    arena_free(&a);
    return buf_take(&out);
}

static void assert_candidates(const struct route_table *t, const char *path, const char *headers, const char *expected)
{
    char *got = candidates(t, path, headers);
    if (strcmp(got, expected) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", path, got, expected);
    free(got);
}

static void routes_under_nested_prefixes_come_in_their_order(void **state)
{
    static const char *const prefixes[] = {"/a/b/c", "/x", "/a", "/", "/a/b", "/ab", "/a", "/a/b/d", "/z"};
    struct route_table *t = table_of(ARRAY_LEN(prefixes));
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(prefixes); i++)
        match_of(t, i)->path = str_of(prefixes[i]);
    route_table_seal(t);
    assert_candidates(t, "/a/b/c/d", NULL, "0 2 3 4 6 ");
    assert_candidates(t, "/abc", NULL, "2 3 5 6 ");
    assert_candidates(t, "/a/b/e?/x", NULL, "2 3 4 6 ");
    assert_candidates(t, "/", NULL, "3 ");
    assert_candidates(t, "/zz", NULL, "3 8 ");
    assert_candidates(t, "*", NULL, "");
    route_table_unref(t);
}

static void a_route_hangs_on_what_it_shares_with_the_fewest(void **state)
{
    struct route_table *t = table_of(500);
    (void)state;
    /* By header, as the paths are one; by path, as the headers are; the last by neither. */
    for (unsigned i = 0; i < 499; i++) {
        bool by_header = i < 250;
        set_regex(t, i, by_header ? "/items/[0-9]+" : arena_printf(t->arena, "/service%u/items/[0-9]+", i).p);
        header_of(t, i, "x-user", by_header ? arena_printf(t->arena, "user%u", i).p : "root");
    }
    set_regex(t, 499, ".*");
    route_table_seal(t);
    assert_candidates(t, "/items/7", "x-user: user249\n", "249 499 ");
    assert_candidates(t, "/items/7", "x-user: user24\n", "24 499 ");
    assert_candidates(t, "/items/7", NULL, "499 ");
    assert_candidates(t, "/service498/items/1", "x-user: root\n", "498 499 ");
    assert_candidates(t, "/service498/items/1", "x-user: user7\n", "7 498 499 ");
    route_table_unref(t);
}

static void what_may_fit_without_its_text_is_always_looked_at(void **state)
{
    struct route_table *t = table_of(10);
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        match_of(t, i)->path = STR("");
    match_of(t, 0)->path = STR("/CASE");
    match_of(t, 0)->ignore_case = true;
    match_of(t, 1)->kind = PATH_CONNECT;
    header_of(t, 2, "x", "a")->invert = true;
    header_of(t, 3, "x", "a")->missing_is_empty = true;
    header_of(t, 4, "x", "a")->kind = HEADER_PRESENT;
    header_of(t, 5, "x", "a")->string.ignore_case = true;
    header_of(t, 6, "x", "a")->string.kind = STR_MATCH_SUFFIX;
    header_of(t, 7, "x", "a")->string.kind = STR_MATCH_CONTAINS;
    set_regex(t, 8, "/a|/b");
    header_of(t, 9, "x", "a");
    route_table_seal(t);
    assert_candidates(t, "/none", NULL, "0 1 2 3 4 5 6 7 8 ");
    assert_candidates(t, "/none", "x: a\n", "0 1 2 3 4 5 6 7 8 9 ");
    route_table_unref(t);
}

static void a_header_given_twice_is_left_to_the_matcher(void **state)
{
    struct route_table *t = table_of(9);
    struct arena *a = arena_new(512);
    struct route_choice c;
    (void)state;
    for (unsigned i = 0; i < 9; i++)
        header_of(t, i, "x", arena_printf(t->arena, "v%u", i).p);
    route_table_seal(t);
    assert_candidates(t, "/", "x: v4\n", "4 ");
    assert_candidates(t, "/", "x: v4\nx: v2\n", "0 1 2 3 4 5 6 7 8 ");
    assert_true(route_find(t, request_of(a, "GET", "h", "/", "x: v4\nx: v2\n"), 0, &c));
    assert_str(c.route->name, "r2");
    arena_free(&a);
    route_table_unref(t);
}

static void more_nested_leads_than_a_walk_holds_are_all_looked_at(void **state)
{
    static const char path[] = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct route_table *t = table_of(40);
    (void)state;
    for (unsigned i = 0; i < 40; i++)
        match_of(t, i)->path = str_n(path, 41 - i);
    route_table_seal(t);
    assert_candidates(t, "/aaaaa", NULL, "35 36 37 38 39 ");
    char *all = candidates(t, path, NULL);
    assert_int_equal(strlen(all), 10 * 2 + 30 * 3);
    free(all);
    route_table_unref(t);
}

/* ---- Against no index. ---- */

static const char *const words[] = {"/", "/a", "/a/", "/a/b", "/ab", "/b", "/b/c/d", "/A", "", "/abc"};
static const char *const patterns[] = {"/a.*", "/a(/b)?", "/ab?", "^/b/c/d$", "/a|/b", ".*", "(?i)/A", "/[ab]", "\\Q/a/b\\E"};
static const char *const names[] = {"x", "y", "z", "user-agent", ":path", ":authority", "v", "w"};
static const char *const values[] = {"a", "ab", "abc", "b", "a,b", "/a", "h"};
#define DRAW(rng, list) list[rng_below(rng, ARRAY_LEN(list))]

static void draw_route(struct route_table *t, unsigned i, struct rng *rng)
{
    static const enum path_match_kind kinds[] = {PATH_PREFIX, PATH_EXACT, PATH_SEPARATED_PREFIX};
    struct route_match *m = match_of(t, i);
    m->kind = DRAW(rng, kinds);
    m->path = str_of(DRAW(rng, words));
    m->ignore_case = rng_below(rng, 8) == 0;
    if (rng_below(rng, 3) == 0)
        set_regex(t, i, DRAW(rng, patterns));
    for (unsigned n = rng_below(rng, 3); n > 0; n--) {
        struct header_match *h = header_of(t, i, DRAW(rng, names), DRAW(rng, values));
        h->string.kind = rng_below(rng, STR_MATCH_REGEX);
        h->string.ignore_case = rng_below(rng, 6) == 0;
        h->invert = rng_below(rng, 6) == 0;
        h->missing_is_empty = rng_below(rng, 6) == 0;
        if (rng_below(rng, 4) == 0) {
            h->string.kind = STR_MATCH_REGEX;
            h->string.regex = regex_of(t, DRAW(rng, values));
        }
    }
}

static struct http_request *draw_request(struct arena *a, struct rng *rng)
{
    struct http_request *r = request_of(a, "GET", DRAW(rng, values), DRAW(rng, words), NULL);
    for (unsigned n = rng_below(rng, 5); n > 0; n--)
        headers_add(&r->headers, str_of(DRAW(rng, names)), str_of(DRAW(rng, values)));
    return r;
}

static void any_table_gives_the_route_that_looking_in_turn_gives(void **state)
{
    struct rng rng;
    unsigned found = 0;
    (void)state;
    rng_seed(&rng, 20261121);
    for (unsigned round = 0; round < 100; round++) {
        struct arena *a = arena_new(4096);
        struct route_table *t = table_of(8 + rng_below(&rng, 60));
        for (unsigned i = 0; i < t->vhosts[0].route_count; i++)
            draw_route(t, i, &rng);
        route_table_seal(t);
        const struct route_index *index = t->vhosts[0].index;
        assert_non_null(index);
        for (unsigned i = 0; i < 50; i++) {
            struct route_choice with, without;
            struct http_request *r = draw_request(a, &rng);
            t->vhosts[0].index = index;
            found += route_find(t, r, 0, &with);
            t->vhosts[0].index = NULL;
            route_find(t, r, 0, &without);
            assert_ptr_equal(with.route, without.route);
        }
        route_table_unref(t);
        arena_free(&a);
    }
    assert_in_range(found, 1000, 4900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_under_nested_prefixes_come_in_their_order),
        cmocka_unit_test(a_route_hangs_on_what_it_shares_with_the_fewest),
        cmocka_unit_test(what_may_fit_without_its_text_is_always_looked_at),
        cmocka_unit_test(a_header_given_twice_is_left_to_the_matcher),
        cmocka_unit_test(more_nested_leads_than_a_walk_holds_are_all_looked_at),
        cmocka_unit_test(any_table_gives_the_route_that_looking_in_turn_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
