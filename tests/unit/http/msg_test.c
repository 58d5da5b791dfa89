/* Facts about heads that have no version. */
#include "sidecar/http/msg.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void reasons_are_envoys(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *reason;
    } cases[] = {{100, "Continue"},       {200, "OK"},
                 {299, "Unknown"},        {404, "Not Found"},
                 {431, "Request Header Fields Too Large"},
                 {503, "Service Unavailable"}, {599, "Unknown"},
                 {0, "Unknown"},          {100000, "Unknown"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(http_status_reason(cases[i].status), cases[i].reason);
}

static void grpc_is_known_by_its_content_type(void **state)
{
    (void)state;
    assert_true(http_content_type_is_grpc(STR("application/grpc")));
    assert_true(http_content_type_is_grpc(STR("application/grpc+proto")));
    assert_true(http_content_type_is_grpc(STR("application/grpc; charset=utf-8") /* no space before */));
    assert_false(http_content_type_is_grpc(STR("application/grpc-web")));
    assert_false(http_content_type_is_grpc(STR("application/grp")));
    assert_false(http_content_type_is_grpc(STR_NONE));
}

static void dates_have_the_form_of_rfc_9110(void **state)
{
    (void)state;
    char text[HTTP_DATE_CAP];
    assert_string_equal(http_date(784111777000000, text), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(http_date(0, text), "Thu, 01 Jan 1970 00:00:00 GMT");
}

static void a_path_ends_at_query_or_fragment(void **state)
{
    (void)state;
    assert_true(str_eq_c(http_path_only(STR("/a/b?c=/d")), "/a/b"));
    assert_true(str_eq_c(http_path_only(STR("/a#b?c")), "/a"));
    assert_true(str_eq_c(http_path_only(STR("/a")), "/a"));
    assert_true(str_eq_c(http_path_only(STR("*")), "*"));
}

static void a_copied_request_outlives_its_source(void **state)
{
    (void)state;
    struct arena *from = arena_new(64), *to = arena_new(64);
    struct http_request a, b;
    http_request_init(&a, from);
    a.method = arena_str(from, STR("POST"));
    a.authority = arena_str(from, STR("example.com"));
    a.path = arena_str(from, STR("/x?y"));
    a.content_length = 7;
    headers_add_copy(&a.headers, STR("X-Long-Name"), STR("v"));
    http_request_copy(&b, &a, to);
    arena_free(&from);
    assert_true(str_eq_c(b.method, "POST"));
    assert_true(str_eq_c(b.authority, "example.com"));
    assert_true(str_eq_c(b.path, "/x?y"));
    assert_true(str_eq_c(headers_find(&b.headers, STR("x-long-name")), "v"));
    assert_int_equal(b.content_length, 7);
    assert_null(b.protocol.p);
    arena_free(&to);
}

static void what_the_proxy_goes_by_is_one_field(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct http_request r;
    http_request_init(&r, a);
    headers_add_copy(&r.headers, STR("X-Forwarded-For"), STR(""));
    headers_add_copy(&r.headers, STR("x-a"), STR("1"));
    headers_add_copy(&r.headers, STR("x-forwarded-for"), STR("1.1.1.1"));
    headers_add_copy(&r.headers, STR("x-a"), STR("2"));
    headers_add_copy(&r.headers, STR("x-forwarded-for"), STR(""));
    headers_add_copy(&r.headers, STR("cookie"), STR("a=1"));
    headers_add_copy(&r.headers, STR("x-forwarded-for"), STR("2.2.2.2"));
    headers_add_copy(&r.headers, STR("cookie"), STR("b=2"));
    headers_add_copy(&r.headers, STR("x-request-id"), STR(""));
    headers_add_copy(&r.headers, STR("x-request-id"), STR(""));
    http_request_join_fields(&r);
    assert_int_equal(r.headers.count, 6);
    assert_true(str_eq_c(r.headers.v[0].value, "1.1.1.1,2.2.2.2"));
    assert_true(str_eq_c(headers_find_joined(&r.headers, STR("x-a")), "1,2"));
    assert_true(str_eq_c(headers_get(&r.headers, HDR_COOKIE), "a=1"));
    assert_int_equal(headers_get(&r.headers, HDR_X_REQUEST_ID).n, 0);
    http_request_join_fields(&r);
    assert_int_equal(r.headers.count, 6);
    headers_add_copy(&r.headers, STR("x-forwarded-for"), STR("3.3.3.3"));
    http_request_join_fields(&r);
    assert_true(str_eq_c(r.headers.v[0].value, "1.1.1.1,2.2.2.2,3.3.3.3"));
    struct http_response answer;
    http_response_init(&answer, a);
    headers_add_copy(&answer.headers, STR("location"), STR("/a"));
    headers_add_copy(&answer.headers, STR("set-cookie"), STR("a"));
    headers_add_copy(&answer.headers, STR("location"), STR("/b"));
    headers_add_copy(&answer.headers, STR("set-cookie"), STR("b"));
    http_response_join_fields(&answer);
    assert_int_equal(answer.headers.count, 3);
    assert_true(str_eq_c(headers_get(&answer.headers, HDR_LOCATION), "/a,/b"));
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_are_envoys),
        cmocka_unit_test(grpc_is_known_by_its_content_type),
        cmocka_unit_test(dates_have_the_form_of_rfc_9110),
        cmocka_unit_test(a_path_ends_at_query_or_fragment),
        cmocka_unit_test(what_the_proxy_goes_by_is_one_field),
        cmocka_unit_test(a_copied_request_outlives_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
