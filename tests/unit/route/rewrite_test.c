/* Header edits, rewrites, redirects. Expectations are Envoy 1.40's. */
#include "route_support.h"

static const struct stream_info info = {
    .start_wall_us = 1, .protocol = "HTTP/1.1", .grpc_status = -1};

/* edits: "+name=value" adds, "?" adds if absent, "=" overwrites or adds, "~" overwrites if there,
 * "-name" removes; a "!" behind the sign keeps an empty value. */
static struct header_edits edits_of(struct arena *a, const char *text)
{
    static const char signs[] = "+?=~";
    struct header_edits e = {.add = ARENA_ARRAY(a, struct header_edit, 8),
                             .remove = ARENA_ARRAY(a, struct str, 8)};
    struct str rest = str_of(text), word;
    while (str_next(&rest, ';', &word)) {
        if (word.p[0] == '-') {
            e.remove[e.remove_count++] = str_sub(word, 1, SIZE_MAX);
            continue;
        }
        struct header_edit *add = &e.add[e.add_count++];
        add->action = (enum header_append)(strchr(signs, word.p[0]) - signs);
        add->keep_empty = word.p[1] == '!';
        word = str_sub(word, add->keep_empty ? 2 : 1, SIZE_MAX);
        ptrdiff_t eq = str_index(word, '=', 0);
        add->name = str_sub(word, 0, (size_t)eq);
        add->value = format_of(a, arena_str(a, str_sub(word, (size_t)eq + 1, SIZE_MAX)).p);
    }
    return e;
}

static void edits_follow_their_actions(void **state)
{
    static const struct {
        const char *edits, *head, *result;
    } cases[] = {
        {"+x=n", NULL, "x: n\n"},
        {"+x=n", "x: 1\n", "x: 1\nx: n\n"},
        {"?x=n", NULL, "x: n\n"},
        {"?x=n", "x: 1\n", "x: 1\n"},
        {"?z=n;?z=m", NULL, "z: n\nz: m\n"},
        {"=x=n", NULL, "x: n\n"},
        {"=x=n", "x: 1\ny: 9\nx: 2\n", "x: n\ny: 9\n"},
        {"~x=n", NULL, ""},
        {"~x=n", "x: 1\n", "x: n\n"},
        {"+z=n;~z=m", NULL, "z: n\n"},
        {"+x=n;=x=m", "x: 1\n", "x: m\nx: n\n"},
        {"-x", "x: 1\ny: 2\nx: 3\n", "y: 2\n"},
        {"-x;+x=%REQ(x)%new", "x: 1\n", "x: new\n"},
        {"+e=;+n=%REQ(nope)%;+!k=;+!nk=%REQ(nope)%", NULL, "k: \nnk: \n"},
        {"=!x=", "x: 1\n", "x: \n"},
        {"+b=pre-%REQ(x)%-post", NULL, "b: pre--post\n"},
        {"=x=%REQ(x)%!;+d=%REQ(x)%", "x: 1\n", "x: 1!\nd: 1\n"},
        {"+c=%PROTOCOL% 100%%", NULL, "c: HTTP/1.1 100%\n"},
        {"+p=%REQ(:path)%|%REQ(host)%|%REQ(:authority)%|%REQ(:method)%|%REQ(:scheme)%", NULL,
         "p: /p?q|h|h|GET|http\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route_choice c;
        struct http_request *r = request_of(a, "GET", "h", "/p?q", cases[i].head);
        t->vhosts[0].routes[0].request_edits = edits_of(a, cases[i].edits);
        assert_true(route_find(t, r, 0, &c));
        route_apply_request(t, &c, r, a, &info, true);
        char *text = text_of(&r->headers);
        if (strcmp(text, cases[i].result) != 0)
            fail_msg("%s: \"%s\"", cases[i].edits, text);
        free(text);
        route_table_unref(t);
        arena_free(&a);
    }
}

/* A weighted cluster, its route, virtual host and table each edit "l" and "o". */
static struct route_table *levels(struct arena *a, const char *action, bool most_specific_wins)
{
    struct route_table *t = table_of(1);
    struct route *r = &t->vhosts[0].routes[0];
    struct weighted_cluster *w = ARENA_NEW(a, struct weighted_cluster);
    struct header_edits *at[] = {&w->request_edits, &r->request_edits, &t->vhosts[0].request_edits,
                                 &t->request_edits};
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        *at[i] = edits_of(a, arena_printf(a, "%sl=%c;=o=%c", action, "wrvt"[i], "wrvt"[i]).p);
    w->response_edits = w->request_edits;
    r->response_edits = r->request_edits;
    t->vhosts[0].response_edits = t->vhosts[0].request_edits;
    t->response_edits = t->request_edits;
    w->cluster = STR("c");
    w->weight = 1;
    r->forward.choice = CLUSTER_WEIGHTED;
    r->forward.weighted = w;
    r->forward.weighted_count = r->forward.total_weight = 1;
    t->most_specific_header_edits_win = most_specific_wins;
    return t;
}

static void levels_apply_in_envoys_order(void **state)
{
    static const struct {
        const char *action;
        bool most_specific_wins;
        const char *result;
    } cases[] = {
        {"+", false, "o: t\nl: w\nl: r\nl: v\nl: t\n"},
        {"+", true, "o: r\nl: w\nl: t\nl: v\nl: r\n"},
        {"?", false, "o: t\nl: w\n"},
        {"?", true, "o: r\nl: w\n"},
        {"=", true, "l: r\no: r\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = levels(a, cases[i].action, cases[i].most_specific_wins);
        struct http_request *r = request_of(a, "GET", "h", "/", NULL);
        struct http_response answer;
        struct route_choice c;
        assert_true(route_find(t, r, 0, &c));
        route_apply_request(t, &c, r, a, &info, true);
        char *text = text_of(&r->headers);
        assert_string_equal(text, cases[i].result);
        free(text);
        http_response_init(&answer, a);
        route_apply_response(t, &c, r, &answer, a, &info);
        text = text_of(&answer.headers);
        assert_string_equal(text, cases[i].result);
        free(text);
        route_table_unref(t);
        arena_free(&a);
    }
}

static void answers_are_edited_with_both_heads_in_sight(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(1);
    struct http_request *r = request_of(a, "GET", "h", "/a?b", "x: 1\n");
    struct http_response answer;
    struct route_choice c;
    t->vhosts[0].routes[0].response_edits = edits_of(
        a, "-x-up;=x-dup=c;?x-up=z;~q=z;+w=%REQ(:path)% %REQ(x)% %RESP(x-dup)%|%RESP(x-up)%");
    http_response_init(&answer, a);
    headers_add(&answer.headers, STR("x-up"), STR("1"));
    headers_add(&answer.headers, STR("x-dup"), STR("a"));
    headers_add(&answer.headers, STR("x-dup"), STR("b"));
    assert_true(route_find(t, r, 0, &c));
    route_apply_response(t, &c, r, &answer, a, &info);
    char *text = text_of(&answer.headers);
    assert_string_equal(text, "x-dup: c\nx-up: z\nw: /a?b 1 a|\n");
    free(text);
    route_table_unref(t);
    arena_free(&a);
}

static void an_answer_without_a_route_gets_the_tables_edits(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(0);
    struct http_response answer;
    struct route_choice c = {0};
    t->response_edits = edits_of(a, "+t=1");
    http_response_init(&answer, a);
    route_apply_response(t, &c, request_of(a, "GET", "h", "/", NULL), &answer, a, &info);
    assert_str(headers_find(&answer.headers, STR("t")), "1");
    route_table_unref(t);
    arena_free(&a);
}

/* ---- Paths. ---- */

static void prefixes_are_rewritten_and_queries_kept(void **state)
{
    static const struct {
        enum path_match_kind kind;
        bool ignore_case;
        const char *match, *rewrite, *path, *result;
    } cases[] = {
        {PATH_PREFIX, false, "/api", "/new", "/api", "/new"},
        {PATH_PREFIX, false, "/api", "/new", "/api?x=1", "/new?x=1"},
        {PATH_PREFIX, false, "/api", "/new", "/api/v1?x=/api", "/new/v1?x=/api"},
        {PATH_PREFIX, false, "/api", "/new", "/apiv", "/newv"},
        {PATH_PREFIX, false, "/api/", "/", "/api//x", "//x"},
        {PATH_PREFIX, true, "/api", "/n", "/API/v", "/n/v"},
        {PATH_EXACT, false, "/api", "/n", "/api?x", "/n?x"},
        {PATH_SEPARATED_PREFIX, false, "/api", "/n", "/api/x", "/n/x"},
        {PATH_REGEX, false, "/api.*", "/n", "/api/v1?x", "/n?x"},
        {PATH_PREFIX, false, "/api", "/n?a=b", "/api/x?y", "/n?a=b/x?y"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route *route = &t->vhosts[0].routes[0];
        struct http_request *r =
            request_of(a, "GET", "h", cases[i].path, "x-envoy-original-path: /fake\n");
        struct route_choice c;
        route->match.kind = cases[i].kind;
        route->match.ignore_case = cases[i].ignore_case;
        route->match.path = str_of(cases[i].match);
        if (cases[i].kind == PATH_REGEX)
            route->match.regex = regex_of(t, cases[i].match);
        route->forward.prefix_rewrite = str_of(cases[i].rewrite);
        assert_true(route_find(t, r, 0, &c));
        route_apply_request(t, &c, r, a, &info, true);
        assert_str(r->path, cases[i].result);
        assert_str(headers_get(&r->headers, HDR_X_ENVOY_ORIGINAL_PATH), cases[i].path);
        route_table_unref(t);
        arena_free(&a);
    }
}

static void paths_are_rewritten_by_regex(void **state)
{
    static const char *const cases[][4] = {
        {"^/api(/?)(.*)$", "/n/\\2\\1", "/api/v1?x=/api", "/n/v1/?x=/api"},
        {"a", "b", "/aa/xa?a", "/bb/xb?a"},
        {"zzz", "b", "/aa?zzz", "/aa?zzz"},
        {"(a+)+[bc]", "x", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route_forward *f = &t->vhosts[0].routes[0].forward;
        struct http_request *r = request_of(a, "GET", "h", cases[i][2], NULL);
        struct route_choice c;
        f->regex_rewrite = regex_of(t, cases[i][0]);
        f->regex_substitution = str_of(cases[i][1]);
        assert_true(route_find(t, r, 0, &c));
        route_apply_request(t, &c, r, a, &info, true);
        assert_str(r->path, cases[i][3]);
        assert_str(headers_get(&r->headers, HDR_X_ENVOY_ORIGINAL_PATH), cases[i][2]);
        route_table_unref(t);
        arena_free(&a);
    }
}

static void originals_can_be_left_out(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(1);
    struct http_request *r = request_of(a, "GET", "h", "/x", NULL);
    struct route_choice c;
    t->vhosts[0].routes[0].forward.prefix_rewrite = STR("/new/");
    t->vhosts[0].routes[0].forward.host_rewrite_literal = STR("new");
    assert_true(route_find(t, r, 0, &c));
    route_apply_request(t, &c, r, a, &info, false);
    assert_str(r->path, "/new/x");
    assert_str(r->authority, "new");
    assert_int_equal(r->headers.count, 0);
    route_table_unref(t);
    arena_free(&a);
}

/* ---- Hosts. ---- */

static void hosts_are_rewritten(void **state)
{
    static const struct {
        const char *literal, *header, *weighted;
        bool forwarded;
        const char *head, *host, *result;
    } cases[] = {
        {"lit", "", "", false, NULL, "lit", "x-envoy-original-host: h\n"},
        {"h", "", "", false, NULL, "h", "x-envoy-original-host: h\n"},
        {"lit", "", "", true, NULL, "lit", "x-forwarded-host: h\nx-envoy-original-host: h\n"},
        {"lit", "", "", true, "x-forwarded-host: f\n", "lit",
         "x-forwarded-host: f,h\nx-envoy-original-host: h\n"},
        {"lit", "", "", true, "x-forwarded-host: f,h\n", "lit",
         "x-forwarded-host: f,h\nx-envoy-original-host: h\n"},
        {"", "x-h", "", false, NULL, "h", ""},
        {"", "x-h", "", false, "x-h:\n", "h", "x-h: \n"},
        {"", "x-h", "", true, "x-h: from\n", "from",
         "x-h: from\nx-forwarded-host: h\nx-envoy-original-host: h\n"},
        {"", "", "wh", true, NULL, "wh", ""},
        {"rh", "", "wh", true, NULL, "rh", "x-forwarded-host: wh\nx-envoy-original-host: wh\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct route_table *t = table_of(1);
        struct route_forward *f = &t->vhosts[0].routes[0].forward;
        struct weighted_cluster w = {
            .cluster = STR("c"), .weight = 1, .host_rewrite = str_of(cases[i].weighted)};
        struct http_request *r = request_of(a, "GET", "h", "/", cases[i].head);
        struct route_choice c;
        f->host_rewrite_literal = str_of(cases[i].literal);
        f->host_rewrite_header = str_of(cases[i].header);
        f->append_x_forwarded_host = cases[i].forwarded;
        f->choice = CLUSTER_WEIGHTED;
        f->weighted = &w;
        f->weighted_count = f->total_weight = 1;
        assert_true(route_find(t, r, 0, &c));
        route_apply_request(t, &c, r, a, &info, true);
        assert_str(r->authority, cases[i].host);
        char *text = text_of(&r->headers);
        if (strcmp(text, cases[i].result) != 0)
            fail_msg("case %zu: \"%s\"", i, text);
        free(text);
        route_table_unref(t);
        arena_free(&a);
    }
}

static void edits_of_the_route_see_the_weighted_clusters_host(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(1);
    struct route *route = &t->vhosts[0].routes[0];
    struct weighted_cluster w = {.cluster = STR("c"), .weight = 1, .host_rewrite = STR("wh")};
    struct http_request *r = request_of(a, "GET", "h", "/", NULL);
    struct route_choice c;
    w.request_edits = edits_of(a, "+w=%REQ(:authority)%");
    route->request_edits = edits_of(a, "+r=%REQ(:authority)%");
    route->forward.choice = CLUSTER_WEIGHTED;
    route->forward.weighted = &w;
    route->forward.weighted_count = route->forward.total_weight = 1;
    assert_true(route_find(t, r, 0, &c));
    route_apply_request(t, &c, r, a, &info, true);
    char *text = text_of(&r->headers);
    assert_string_equal(text, "w: h\nr: wh\n");
    free(text);
    route_table_unref(t);
    arena_free(&a);
}

/* ---- Redirects. ---- */

static void redirects_name_a_location(void **state)
{
    static const struct {
        struct route_redirect redirect;
        const char *host, *path, *scheme, *proto, *location;
    } cases[] = {
        {{.host = S("n.com")}, "h:80", "/api?x=1", "http", NULL, "http://n.com/api?x=1"},
        {{.https = true}, "h", "/", "http", "http", "https://h/"},
        {{.https = true}, "h:80", "/", "http", "http", "https://h/"},
        {{.https = true}, "h:443", "/", "http", "http", "https://h:443/"},
        {{.https = true}, "h:8080", "/", "http", "http", "https://h:8080/"},
        {{.https = true}, "h:443", "/", "https", "https", "https://h:443/"},
        {{.https = true}, "[::1]:80", "/", "http", "http", "https://[::1]/"},
        {{.https = true}, "[::1]", "/", "http", "http", "https://[::1]/"},
        {{.scheme = S("http")}, "h:443", "/", "https", "https", "http://h/"},
        {{.scheme = S("ftp")}, "h:80", "/", "http", NULL, "ftp://h/"},
        {{.port = 8443}, "h:80", "/", "http", NULL, "http://h:8443/"},
        {{.port = 8443}, "[::1]:80", "/", "http", NULL, "http://[::1]:8443/"},
        {{.https = true, .host = S("n"), .port = 1, .path = S("/z")},
         "h",
         "/a",
         "http",
         NULL,
         "https://n:1/z"},
        {{.path = S("/z")}, "h", "/a?x=1", "http", NULL, "http://h/z?x=1"},
        {{.path = S("/z"), .strip_query = true}, "h", "/a?x=1", "http", NULL, "http://h/z"},
        {{.path = S("/z?k=v")}, "h", "/a?x=1", "http", NULL, "http://h/z?k=v"},
        {{.path = S("/z?k=v"), .strip_query = true}, "h", "/a?x=1", "http", NULL, "http://h/z?k=v"},
        {{.strip_query = true}, "H.com", "/a?x=1", "http", NULL, "http://H.com/a"},
        {{.prefix_rewrite = S("/new")}, "h", "/api/v?y", "http", NULL, "http://h/new/v?y"},
        {{.prefix_rewrite = S("/new"), .strip_query = true},
         "h",
         "/api/v?y",
         "http",
         NULL,
         "http://h/new/v"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct http_request *r = request_of(a, "GET", cases[i].host, cases[i].path, NULL);
        struct route route = {.kind = ROUTE_REDIRECT, .redirect = cases[i].redirect};
        route.match.path = STR("/api");
        r->scheme = str_of(cases[i].scheme);
        if (cases[i].proto)
            headers_add_id(&r->headers, HDR_X_FORWARDED_PROTO, str_of(cases[i].proto));
        struct str location = route_redirect_location(&route, r, true, a);
        if (!str_eq_c(location, cases[i].location))
            fail_msg("case %zu: \"%.*s\", not \"%s\"", i, STR_FMT(location), cases[i].location);
        arena_free(&a);
    }
}

static void a_redirect_may_rewrite_by_regex(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route_table *t = table_of(0);
    struct route route = {.kind = ROUTE_REDIRECT};
    route.redirect.regex = regex_of(t, "^/api/(.*)$");
    route.redirect.regex_substitution = STR("/\\1/n");
    assert_str(route_redirect_location(&route, request_of(a, "GET", "h", "/api/v?y", NULL), true, a),
               "http://h/v/n?y");
    route_table_unref(t);
    arena_free(&a);
}

static void a_direct_response_is_located_where_it_was_asked_for(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct route route = {.kind = ROUTE_DIRECT, .direct = {.status = 201}};
    struct http_request *r = request_of(a, "GET", "h:80", "/a?b", NULL);
    assert_str(route_redirect_location(&route, r, true, a), "http://h:80/a?b");
    r->scheme = STR("");
    assert_str(route_redirect_location(&route, r, true, a), "http://h:80/a?b");
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_follow_their_actions),
        cmocka_unit_test(levels_apply_in_envoys_order),
        cmocka_unit_test(answers_are_edited_with_both_heads_in_sight),
        cmocka_unit_test(an_answer_without_a_route_gets_the_tables_edits),
        cmocka_unit_test(prefixes_are_rewritten_and_queries_kept),
        cmocka_unit_test(paths_are_rewritten_by_regex),
        cmocka_unit_test(originals_can_be_left_out),
        cmocka_unit_test(hosts_are_rewritten),
        cmocka_unit_test(edits_of_the_route_see_the_weighted_clusters_host),
        cmocka_unit_test(redirects_name_a_location),
        cmocka_unit_test(a_redirect_may_rewrite_by_regex),
        cmocka_unit_test(a_direct_response_is_located_where_it_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
