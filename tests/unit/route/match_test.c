/* Routes of one virtual host: paths, headers, query parameters, splits. Expectations are
 * Envoy 1.40's. */
#include "route_support.h"

/* The name of the route found, or "". */
static struct str found(const struct route_table *t, const struct http_request *r, uint64_t random)
{
    struct route_choice c;
    return route_find(t, r, random, &c) ? c.route->name : STR("");
}

static void paths_match_without_their_query(void **state)
{
    static const struct {
        enum path_match_kind kind;
        bool ignore_case;
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {PATH_EXACT, false, "/exact", "/exact", true},
        {PATH_EXACT, false, "/exact", "/exact?", true},
        {PATH_EXACT, false, "/exact", "/exact?a=1", true},
        {PATH_EXACT, false, "/exact", "/exact/", false},
        {PATH_EXACT, false, "/exact", "/Exact", false},
        {PATH_EXACT, false, "/exact", "//exact", false},
        {PATH_EXACT, true, "/CASE", "/case?x", true},
        {PATH_PREFIX, false, "/pre", "/pre", true},
        {PATH_PREFIX, false, "/pre", "/prefix/x", true},
        {PATH_PREFIX, false, "/pre", "/Pre", false},
        {PATH_PREFIX, false, "/pre", "/pr?e", false},
        {PATH_PREFIX, true, "/Ci", "/cI/x", true},
        {PATH_PREFIX, false, "", "/any", true},
        {PATH_SEPARATED_PREFIX, false, "/sep", "/sep", true},
        {PATH_SEPARATED_PREFIX, false, "/sep", "/sep/", true},
        {PATH_SEPARATED_PREFIX, false, "/sep", "/sep/x", true},
        {PATH_SEPARATED_PREFIX, false, "/sep", "/sep?x", true},
        {PATH_SEPARATED_PREFIX, false, "/sep", "/sepx", false},
        {PATH_SEPARATED_PREFIX, true, "/Sci", "/sci/a", true},
        {PATH_SEPARATED_PREFIX, true, "/Sci", "/sciX", false},
        {PATH_REGEX, false, "/re/[0-9]+", "/re/12", true},
        {PATH_REGEX, false, "/re/[0-9]+", "/re/12?x=a", true},
        {PATH_REGEX, false, "/re/[0-9]+", "/re/12/", false},
        {PATH_REGEX, false, "/q.*x=1", "/q?x=1", false},
        {PATH_REGEX, false, "(a+)+[bc]",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route_match *m = &t->vhosts[0].routes[0].match;
        m->kind = cases[i].kind;
        m->path = str_of(cases[i].pattern);
        m->ignore_case = cases[i].ignore_case;
        if (m->kind == PATH_REGEX)
            m->regex = regex_of(t, cases[i].pattern);
        struct str name = found(t, request_of(a, "GET", "h", cases[i].path, NULL), 0);
        if ((name.n > 0) != cases[i].matches)
            fail_msg("%s on %s", cases[i].pattern, cases[i].path);
        route_table_unref(t);
        arena_free(&a);
    }
}

static void connect_matches_its_own_route_alone(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(3);
    struct route *v = t->vhosts[0].routes;
    v[0].match.path = STR("");
    v[1].match.kind = PATH_CONNECT;
    assert_str(found(t, request_of(a, "CONNECT", "h:443", "", NULL), 0), "r1");
    assert_str(found(t, request_of(a, "GET", "h", "/", NULL), 0), "r0");
    v[0].match.path = STR("/none");
    assert_str(found(t, request_of(a, "GET", "h", "/", NULL), 0), "r2");
    route_table_unref(t);
    arena_free(&a);
}

static void the_first_route_that_fits_is_taken(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(3);
    struct route *v = t->vhosts[0].routes;
    v[0].match.path = STR("/a/b");
    v[1].match.path = STR("/a");
    v[2].match.path = STR("/a/b/c");
    assert_str(found(t, request_of(a, "GET", "h", "/a/b/c", NULL), 0), "r0");
    assert_str(found(t, request_of(a, "GET", "h", "/a/x", NULL), 0), "r1");
    struct route_choice c;
    assert_false(route_find(t, request_of(a, "GET", "h", "/x", NULL), 0, &c));
    assert_ptr_equal(c.vhost, &t->vhosts[0]);
    assert_null(c.route);
    route_table_unref(t);
    arena_free(&a);
}

static void a_grpc_route_wants_grpc(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(2);
    t->vhosts[0].routes[0].match.grpc = true;
    struct http_request *r = request_of(a, "POST", "h", "/", NULL);
    assert_str(found(t, r, 0), "r1");
    r->is_grpc = true;
    assert_str(found(t, r, 0), "r0");
    route_table_unref(t);
    arena_free(&a);
}

/* ---- Headers. ---- */

/* The requests that each rule is tried on. */
static const char *const heads[] = {NULL,      "x:\n",         "x: a\n",      "x: A\n",
                                    "x: ab\n", "x: a\nx: b\n", "x: b\nx: a\n"};

/* expected: one letter a head, y where the rule holds. */
static void assert_rule(struct header_match m, const char *what, const char *expected)
{
    char got[ARRAY_LEN(heads) + 1] = "";
    m.name = STR("x");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct arena *a = arena_new(512);
        got[i] = header_match_check(&m, request_of(a, "GET", "h", "/", heads[i])) ? 'y' : '.';
        arena_free(&a);
    }
    if (strcmp(got, expected) != 0)
        fail_msg("%s%s%s: %s, not %s", what, m.invert ? " inverted" : "",
                 m.missing_is_empty ? " missing is empty" : "", got, expected);
}

static void header_rules_see_each_value_and_what_is_missing(void **state)
{
    static const struct {
        const char *what;
        struct header_match match;
        /* plain, inverted, missing as empty, both */
        const char *expected[4];
    } cases[] = {
        {"exact a",
         {.kind = HEADER_STRING, .string = {.kind = STR_MATCH_EXACT, .text = {"a", 1}}},
         {"..y..yy", ".y.yy..", "..y..yy", "yy.yy.."}},
        {"exact empty",
         {.kind = HEADER_STRING, .string = {.kind = STR_MATCH_EXACT}},
         {".y.....", "..yyyyy", "yy.....", "..yyyyy"}},
        {"prefix a",
         {.kind = HEADER_STRING, .string = {.kind = STR_MATCH_PREFIX, .text = {"a", 1}}},
         {"..y.yyy", ".y.y...", "..y.yyy", "yy.y..."}},
        {"suffix b",
         {.kind = HEADER_STRING, .string = {.kind = STR_MATCH_SUFFIX, .text = {"b", 1}}},
         {"....yyy", ".yyy...", "....yyy", "yyyy..."}},
        {"contains A in any case",
         {.kind = HEADER_STRING,
          .string = {.kind = STR_MATCH_CONTAINS, .ignore_case = true, .text = {"A", 1}}},
         {"..yyyyy", ".y.....", "..yyyyy", "yy....."}},
        {"present",
         {.kind = HEADER_PRESENT, .present = true},
         {".yyyyyy", "y......", "yyyyyyy", "......."}},
        {"absent",
         {.kind = HEADER_PRESENT, .present = false},
         {"y......", ".yyyyyy", ".......", "yyyyyyy"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned k = 0; k < 4; k++) {
            struct header_match m = cases[i].match;
            m.invert = k & 1;
            m.missing_is_empty = k & 2;
            assert_rule(m, cases[i].what, cases[i].expected[k]);
        }
}

static void ranges_are_half_open_and_whole_numbers(void **state)
{
    static const struct {
        const char *head;
        bool matches, matches_inverted;
    } cases[] = {
        {NULL, false, false},           {"x:\n", false, true},
        {"x: 9\n", true, false},        {"x: 10\n", false, true},
        {"x: -5\n", true, false},       {"x: -6\n", false, true},
        {"x: +5\n", true, false},       {"x: +-5\n", false, true},
        {"x: 05\n", true, false},       {"x: 5.0\n", false, true},
        {"x: abc\n", false, true},      {"x: 99999999999999999999\n", false, true},
        {"x: 77\nx: 6\n", true, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct header_match m = {
            .name = STR("x"), .kind = HEADER_RANGE, .range_start = -5, .range_end = 10};
        const struct http_request *r = request_of(a, "GET", "h", "/", cases[i].head);
        if (header_match_check(&m, r) != cases[i].matches)
            fail_msg("%s", cases[i].head);
        m.invert = true;
        if (header_match_check(&m, r) != cases[i].matches_inverted)
            fail_msg("inverted: %s", cases[i].head);
        arena_free(&a);
    }
}

static void single_valued_headers_are_joined_by_commas(void **state)
{
    static const char *const names[] = {"user-agent", "x-forwarded-for", "content-type"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct arena *a = arena_new(512);
        struct http_request *r = request_of(a, "GET", "h", "/", NULL);
        headers_add(&r->headers, str_of(names[i]), STR("a"));
        headers_add(&r->headers, str_of(names[i]), STR("b"));
        struct header_match m = {.name = str_of(names[i]), .kind = HEADER_STRING};
        m.string = (struct str_match){.kind = STR_MATCH_EXACT, .text = STR("a,b")};
        assert_true(header_match_check(&m, r));
        m.string.text = STR("b");
        assert_false(header_match_check(&m, r));
        assert_true(route_header_is_single(m.name));
        assert_str(route_header_value(r, m.name), "a,b");
        arena_free(&a);
    }
}

static void pseudo_headers_and_the_upgrade_are_headers_too(void **state)
{
    static const char *const values[][2] = {
        {":method", "GET"},         {":path", "/p?q=1"},
        {":authority", "h"},        {"host", "h"},
        {":scheme", "http"},        {"x", "1"},
        {":protocol", "websocket"}, {"upgrade", "websocket"},
        {"connection", "upgrade"},
    };
    (void)state;
    struct arena *a = arena_new(512);
    struct http_request *r = request_of(a, "GET", "h", "/p?q=1", "x: 1\nx: 2\n");
    r->protocol = STR("websocket");
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct header_match m = {.name = str_of(values[i][0]), .kind = HEADER_STRING};
        m.string = (struct str_match){.kind = STR_MATCH_EXACT, .text = str_of(values[i][1])};
        assert_true(header_match_check(&m, r));
        assert_str(route_header_value(r, m.name), values[i][1]);
    }
    r->protocol = STR_NONE;
    assert_null(route_header_value(r, STR("upgrade")).p);
    assert_null(route_header_value(r, STR("connection")).p);
    assert_null(route_header_value(r, STR(":unknown")).p);
    assert_null(route_header_value(r, STR("none")).p);
    arena_free(&a);
}

static void answers_match_by_status_and_header(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct http_response r;
    http_response_init(&r, a);
    r.status = 503;
    headers_add(&r.headers, STR("x-retry"), STR("yes"));
    struct header_match m = {
        .name = STR(":status"), .kind = HEADER_RANGE, .range_start = 500, .range_end = 504};
    assert_true(header_match_response(&m, &r));
    m.range_end = 503;
    assert_false(header_match_response(&m, &r));
    m = (struct header_match){.name = STR("x-retry"), .kind = HEADER_PRESENT, .present = true};
    assert_true(header_match_response(&m, &r));
    arena_free(&a);
}

static void all_rules_of_a_route_must_hold(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(2);
    struct header_match rules[] = {
        {.name = STR("x"), .kind = HEADER_PRESENT, .present = true},
        {.name = STR("y"), .kind = HEADER_PRESENT, .present = true},
    };
    t->vhosts[0].routes[0].match.headers = rules;
    t->vhosts[0].routes[0].match.header_count = 2;
    assert_str(found(t, request_of(a, "GET", "h", "/", "x: 1\ny: 1\n"), 0), "r0");
    assert_str(found(t, request_of(a, "GET", "h", "/", "x: 1\n"), 0), "r1");
    assert_str(found(t, request_of(a, "GET", "h", "/", "y: 1\n"), 0), "r1");
    route_table_unref(t);
    arena_free(&a);
}

/* ---- Query parameters. ---- */

static void query_parameters_match_undecoded_by_their_first_value(void **state)
{
    static const struct {
        const char *path;
        bool present, is_1;
    } cases[] = {
        {"/", false, false},        {"/?", false, false},       {"/?a", true, false},
        {"/?a=", true, false},      {"/?a=1", true, true},      {"/?a=1&a=2", true, true},
        {"/?a=2&a=1", true, false}, {"/?b=1&a=1", true, true},  {"/?A=1", false, false},
        {"/?aa=1", false, false},   {"/?%61=1", false, false},  {"/?a=%31", true, false},
        {"/?a==1", true, false},    {"/?&a=1", true, true},     {"/?a=1&", true, true},
        {"/?=1", false, false},     {"/?a=1;b=2", true, false}, {"/?x=y?a=1", false, false},
    };
    (void)state;
    struct query_match any = {.name = STR("a"), .any = true};
    struct query_match exact = {.name = STR("a"),
                                .string = {.kind = STR_MATCH_EXACT, .text = STR("1")}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route_match *m = &t->vhosts[0].routes[0].match;
        m->query_count = 1;
        m->queries = &any;
        if ((found(t, request_of(a, "GET", "h", cases[i].path, NULL), 0).n > 0) != cases[i].present)
            fail_msg("present: %s", cases[i].path);
        m->queries = &exact;
        if ((found(t, request_of(a, "GET", "h", cases[i].path, NULL), 0).n > 0) != cases[i].is_1)
            fail_msg("is 1: %s", cases[i].path);
        route_table_unref(t);
        arena_free(&a);
    }
}

/* ---- Chance and clusters. ---- */

static void a_fraction_takes_its_share(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(2);
    struct route_match *m = &t->vhosts[0].routes[0].match;
    const struct http_request *r = request_of(a, "GET", "h", "/", NULL);
    unsigned taken = 0;
    m->fraction_numerator = 30;
    m->fraction_denominator = 100;
    for (uint64_t random = 0; random < 1000; random++)
        taken += str_eq(found(t, r, random), STR("r0"));
    assert_int_equal(taken, 300);
    m->fraction_numerator = 0;
    assert_str(found(t, r, 0), "r1");
    m->fraction_numerator = 100;
    assert_str(found(t, r, 99), "r0");
    route_table_unref(t);
    arena_free(&a);
}

static void a_split_follows_its_weights(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(1);
    struct route_forward *f = &t->vhosts[0].routes[0].forward;
    struct weighted_cluster w[] = {{.cluster = STR("a"), .weight = 90},
                                   {.cluster = STR("b")},
                                   {.cluster = STR("c"), .weight = 10}};
    const struct http_request *r = request_of(a, "GET", "h", "/", NULL);
    unsigned hits[3] = {0};
    f->choice = CLUSTER_WEIGHTED;
    f->weighted = w;
    f->weighted_count = 3;
    f->total_weight = 100;
    for (uint64_t random = 0; random < 1000; random++) {
        struct route_choice c;
        assert_true(route_find(t, r, random, &c));
        assert_true(str_eq(c.cluster, c.weighted->cluster));
        hits[c.weighted - w]++;
    }
    assert_int_equal(hits[0], 900);
    assert_int_equal(hits[1], 0);
    assert_int_equal(hits[2], 100);
    route_table_unref(t);
    arena_free(&a);
}

static void a_header_may_name_the_cluster(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(1);
    struct route_forward *f = &t->vhosts[0].routes[0].forward;
    struct route_choice c;
    f->choice = CLUSTER_FROM_HEADER;
    f->cluster_header = STR("x-cluster");
    assert_true(
        route_find(t, request_of(a, "GET", "h", "/", "x-cluster: c1\nx-cluster: c2\n"), 0, &c));
    assert_str(c.cluster, "c1");
    assert_true(route_find(t, request_of(a, "GET", "h", "/", NULL), 0, &c));
    assert_int_equal(c.cluster.n, 0);
    f->cluster_header = STR(":authority");
    assert_true(route_find(t, request_of(a, "GET", "h", "/", NULL), 0, &c));
    assert_str(c.cluster, "h");
    route_table_unref(t);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_match_without_their_query),
        cmocka_unit_test(connect_matches_its_own_route_alone),
        cmocka_unit_test(the_first_route_that_fits_is_taken),
        cmocka_unit_test(a_grpc_route_wants_grpc),
        cmocka_unit_test(header_rules_see_each_value_and_what_is_missing),
        cmocka_unit_test(ranges_are_half_open_and_whole_numbers),
        cmocka_unit_test(single_valued_headers_are_joined_by_commas),
        cmocka_unit_test(pseudo_headers_and_the_upgrade_are_headers_too),
        cmocka_unit_test(answers_match_by_status_and_header),
        cmocka_unit_test(all_rules_of_a_route_must_hold),
        cmocka_unit_test(query_parameters_match_undecoded_by_their_first_value),
        cmocka_unit_test(a_fraction_takes_its_share),
        cmocka_unit_test(a_split_follows_its_weights),
        cmocka_unit_test(a_header_may_name_the_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
