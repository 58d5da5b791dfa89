/* Format strings: what each operator prints, what is refused. Expected texts were printed by
 * Envoy 1.40. */
#include "sidecar/observe/format.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct str header(void *ctx, char which, struct str name)
{
    static const struct {
        char which;
        const char *name, *value;
    } v[] = {
        {'q', ":method", "GET"},
        {'q', ":path", "/x?a=1"},
        {'q', ":authority", "host"},
        {'q', "x-a", "hello"},
        {'q', "x-empty", ""},
        {'q', "x-odd", "he\"llo\\ \t</>\xc3\xa9"},
        {'q', "x-latin",
         "\xe9"
         "a"},
        {'r', "server", "envoy"},
        {'t', "grpc-message", "bye"},
    };
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        if (v[i].which == which && str_eq_c(name, v[i].name))
            return str_of(v[i].value);
    return STR_NONE;
}

static const struct stream_info answered = {
    .start_wall_us = 1795259516603283,
    .start_ns = 1000000000,
    .request_end_ns = 1002000000,
    .upstream_first_tx_ns = 1002500000,
    .upstream_last_tx_ns = 1003000000,
    .upstream_first_rx_ns = 1009000000,
    .upstream_last_rx_ns = 1010000000,
    .first_tx_ns = 1009500000,
    .end_ns = 1011999999,
    .response_code = 200,
    .grpc_status = -1,
    .attempts = 1,
    .response_code_details = {"via_upstream", 12},
    .bytes_received = 7,
    .bytes_sent = 2,
    .upstream_wire_bytes_sent = 240,
    .upstream_wire_bytes_received = 148,
    .downstream_wire_bytes_sent = 161,
    .downstream_wire_bytes_received = 124,
    .protocol = "HTTP/1.1",
    .upstream_protocol = "HTTP/2",
    .downstream_remote = {"127.0.0.1:49194", 15},
    .downstream_local = {"[::1]:80", 8},
    .downstream_direct_remote = {"10.0.0.1:5", 10},
    .upstream_host = {"127.0.0.1:39837", 15},
    .upstream_local = {"127.0.0.1:40252", 15},
    .upstream_cluster = {"up", 2},
    .route_name = {"r1", 2},
    .requested_server_name = {"sni", 3},
    .connection_id = 3,
};

/* Nothing happened but a connection that failed. */
static const struct stream_info failed = {
    .start_wall_us = 1795259516000000,
    .start_ns = 1000000000,
    .grpc_status = 14,
    .flags = (1ull << FLAG_UF) | (1ull << FLAG_URX) | (1ull << FLAG_UH),
    .flag_order = {FLAG_URX, FLAG_UF, FLAG_UH},
    .response_code_details = {"upstream reset {remote\tconnection}", 34},
    .connection_termination_details = {"two words", 9},
    .upstream_failure = {"delayed connect error: refused", 30},
    .upstream_host = {"127.0.0.1:1", 11},
};

static void assert_prints(const char *format, const struct stream_info *info, const char *expected)
{
    struct arena *a = arena_new(512);
    struct err err = {0};
    struct buf out = {0};
    struct format *f = format_compile(a, str_of(format), &err);
    if (!f)
        fail_msg("\"%s\": %s", format, err.text);
    format_run(f, info, header, NULL, &out);
    char *text = buf_take(&out);
    if (strcmp(text, expected) != 0)
        fail_msg("\"%s\": \"%s\", not \"%s\"", format, text, expected);
    free(text);
    arena_free(&a);
}

static void operators_print_what_happened_or_a_dash(void **state)
{
    static const struct {
        const char *format, *of_answered, *of_failed;
    } cases[] = {
        {"", "", ""},
        {"plain 100%%\n", "plain 100%\n", "plain 100%\n"},
        {"%START_TIME%", "2026-11-21T11:11:56.603Z", "2026-11-21T11:11:56.000Z"},
        {"%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2026/11/21T11:11:56+0000 1795259516",
         "2026/11/21T11:11:56+0000 1795259516"},
        {"%START_TIME(%f|%1f|%6f|%9f|%s%3f)%", "603283000|6|603283|603283000|1795259516603",
         "000000000|0|000000|000000000|1795259516000"},
        {"%START_TIME(%%Y|%E3S|%E*S|%E0S|%Z|%j)%", "%Y|56.603|56.603283|56|UTC|325",
         "%Y|56.000|56|56|UTC|325"},
        {"%REQ(:METHOD)% %REQ(:path):3%", "GET /x?", "GET /x?"},
        {"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/x?a=1", "/x?a=1"},
        {"%REQ(nope?X-A)%|%REQ(x-a?nope):2%|%REQ(nope)%|%REQ(x-a):0%|%REQ(x-a):99%",
         "hello|he|-||hello", "hello|he|-||hello"},
        {"%REQUEST_HEADER(x-empty)%|%REQ(x-empty?x-a)%|%REQ(?x-a)%|%REQ(x-a?)%", "||hello|hello",
         "||hello|hello"},
        {"%RESP(server)% %RESPONSE_HEADER(x)% %TRAILER(grpc-message)% %RESPONSE_TRAILER(x)%",
         "envoy - bye -", "envoy - bye -"},
        {"%RESP(:STATUS)% %RESPONSE_CODE%", "200 200", "- 0"},
        {"%PROTOCOL% %UPSTREAM_PROTOCOL%", "HTTP/1.1 HTTP/2", "- -"},
        {"%RESPONSE_CODE_DETAILS%", "via_upstream", "upstream_reset_{remote_connection}"},
        {"%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via_upstream",
         "upstream reset {remote\tconnection}"},
        {"%CONNECTION_TERMINATION_DETAILS%", "-", "two words"},
        {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", "-", "delayed_connect_error:_refused"},
        {"%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "- -",
         "URX,UF,UH UpstreamRetryLimitExceeded,UpstreamConnectionFailure,NoHealthyUpstream"},
        {"%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% "
         "%RESPONSE_TX_DURATION%",
         "11 2 3 9 2", "- - - - -"},
        {"%BYTES_RECEIVED% %BYTES_SENT%", "7 2", "0 0"},
        {"%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% "
         "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
         "240 148 161 124", "0 0 0 0"},
        {"%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "127.0.0.1:39837 up up",
         "127.0.0.1:1 - -"},
        {"%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%",
         "127.0.0.1:40252 127.0.0.1 40252", "- - -"},
        {"%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%",
         "127.0.0.1:39837 127.0.0.1 39837", "- - -"},
        {"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
         "%DOWNSTREAM_REMOTE_PORT%",
         "127.0.0.1:49194 127.0.0.1 49194", "- - -"},
        {"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% "
         "%DOWNSTREAM_LOCAL_PORT%",
         "[::1]:80 ::1 80", "- - -"},
        {"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
         "10.0.0.1:5 10.0.0.1", "- -"},
        {"%UPSTREAM_REQUEST_ATTEMPT_COUNT% %CONNECTION_ID%", "1 3", "0 0"},
        {"%REQUESTED_SERVER_NAME% %ROUTE_NAME%", "sni r1", "- -"},
        {"%GRPC_STATUS%|%GRPC_STATUS(CAMEL_STRING)%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS("
         "NUMBER)%|"
         "%GRPC_STATUS_NUMBER%",
         "-|-|-|-|-", "Unavailable|Unavailable|UNAVAILABLE|14|14"},
        {"%ENVIRONMENT(FORMAT_TEST)% %ENVIRONMENT(FORMAT_TEST):2% %ENVIRONMENT(FORMAT_TEST_NONE)%",
         "bar ba -", "bar ba -"},
        {"%DURATION()%%PROTOCOL%", "11HTTP/1.1", "--"},
    };
    (void)state;
    setenv("FORMAT_TEST", "bar", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_prints(cases[i].format, &answered, cases[i].of_answered);
        assert_prints(cases[i].format, &failed, cases[i].of_failed);
    }
}

static void istios_line_prints(void **state)
{
    (void)state;
    assert_prints(format_istio_default, &answered,
                  "[2026-11-21T11:11:56.603Z] \"GET /x?a=1 HTTP/1.1\" 200 - via_upstream - \"-\" 7 "
                  "2 11 - \"-\" "
                  "\"-\" \"-\" \"host\" \"127.0.0.1:39837\" up 127.0.0.1:40252 [::1]:80 "
                  "127.0.0.1:49194 sni r1");
}

static void the_host_has_a_name(void **state)
{
    (void)state;
    char name[256] = "";
    assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
    assert_prints("%HOSTNAME%", &answered, name);
}

static void local_time_follows_the_zone(void **state)
{
    (void)state;
    char *before = getenv("TZ") ? xstrdup(getenv("TZ")) : NULL;
    setenv("TZ", "XST-5:30", 1);
    tzset();
    assert_prints("%START_TIME_LOCAL%", &answered, "2026-11-21T16:41:56.603+0530");
    assert_prints("%START_TIME_LOCAL(%H:%M %Z %s)%", &answered, "16:41 XST 1795259516");
    assert_prints("%START_TIME(%H:%M %Z %s)%", &answered, "11:11 UTC 1795259516");
    if (before)
        setenv("TZ", before, 1);
    else
        unsetenv("TZ");
    tzset();
    free(before);
}

static void the_time_of_writing_is_now(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct buf out = {0};
    struct format *f = format_compile(a, STR("%EMIT_TIME(%s)%"), &(struct err){0});
    uint64_t before = clock_wall_us() / 1000000; /* time() lags behind it by a tick */
    format_run(f, &answered, NULL, NULL, &out);
    uint64_t seconds;
    assert_true(str_to_u64(buf_str(&out), &seconds));
    assert_in_range(seconds, before, clock_wall_us() / 1000000);
    buf_fini(&out);
    arena_free(&a);
}

static void without_headers_they_are_absent(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct buf out = {0};
    format_run(format_compile(a, STR("%REQ(x-a)%"), &(struct err){0}), &answered, NULL, NULL, &out);
    assert_true(str_eq_c(buf_str(&out), "-"));
    buf_fini(&out);
    arena_free(&a);
}

static void what_envoy_refuses_or_we_lack_is_refused_by_name(void **state)
{
    static const struct {
        const char *format, *words;
    } cases[] = {
        {"%", "position 0"},
        {"a%b", "position 1"},
        {"100%", "position 3"},
        {"%REQ(a", "position 0"},
        {"%REQ(a)", "position 0"},
        {"%REQ(a):%", "position 0"},
        {"%REQ(a):x%", "position 0"},
        {"%REQ(a):-1%", "position 0"},
        {"%REQ(a):99999999999999999999%", "position 0"},
        {"% REQ(a)%", "position 0"},
        {"%REQ (a)%", "position 0"},
        {"%REQ(a)%%", "position 8"},
        {"%lower%", "position 0"},
        {"%REQ%", "REQ requires parameters"},
        {"%REQ()%", "REQ requires parameters"},
        {"%ENVIRONMENT%", "ENVIRONMENT requires parameters"},
        {"%REQ(a?b?c)%", "more than 1 alternative"},
        {"%REQ(A B)%", "not a header's name"},
        {"%FOO%", "operator %FOO% is not supported"},
        {"%VIRTUAL_CLUSTER_NAME%", "operator %VIRTUAL_CLUSTER_NAME% is not supported"},
        {"%DYNAMIC_METADATA(a:b)%", "operator %DYNAMIC_METADATA% is not supported"},
        {"%DURATION(x)%", "DURATION does not take any parameters"},
        {"%HOSTNAME(x)%", "HOSTNAME does not take any parameters"},
        {"%DURATION:3%", "DURATION does not allow a length"},
        {"%START_TIME():3%", "START_TIME does not allow a length"},
        {"%START_TIME(%n)%", "time format"},
        {"%START_TIME(%Ez)%", "time format"},
        {"%START_TIME(%0f)%", "time format"},
        {"%START_TIME(x%)%", "time format"},
        {"%START_TIME(a\nb)%", "time format"},
        {"%GRPC_STATUS(FOO)%", "CAMEL_STRING, SNAKE_STRING or NUMBER, got FOO"},
        {"%RESPONSE_CODE_DETAILS(X)%", "got X"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(512);
        struct err err = {0};
        struct format *f = format_compile(a, str_of(cases[i].format), &err);
        if (f || !strstr(err.text, cases[i].words))
            fail_msg("\"%s\": \"%s\"", cases[i].format, err.text);
        arena_free(&a);
    }
}

static void a_long_time_format_is_refused(void **state)
{
    (void)state;
    char text[300];
    struct arena *a = arena_new(512);
    struct err err = {0};
    strcpy(text, "%START_TIME(");
    memset(text + 12, 'x', 200);
    strcpy(text + 212, ")%");
    assert_null(format_compile(a, str_of(text), &err));
    text[12] = '\0';
    for (unsigned i = 0; i < 40; i++)
        strcat(text, "%fx");
    strcat(text, ")%");
    err = (struct err){0};
    assert_null(format_compile(a, str_of(text), &err));
    arena_free(&a);
}

static void literals_are_known(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct err err = {0};
    struct str text;
    assert_true(format_is_literal(format_compile(a, STR("a%%b"), &err), &text));
    assert_true(str_eq_c(text, "a%b"));
    assert_true(format_is_literal(format_compile(a, STR(""), &err), &text));
    assert_int_equal(text.n, 0);
    assert_false(format_is_literal(format_compile(a, STR("%DURATION%"), &err), &text));
    assert_false(format_is_literal(format_compile(a, STR("a%DURATION%"), &err), &text));
    arena_free(&a);
}

static void json_keeps_types_and_sorts_keys(void **state)
{
    static const char *const fields[][2] = {
        {"z", "%PROTOCOL%"},
        {"a", "%RESPONSE_CODE%"},
        {"n", "%REQ(nope)%"},
        {"mix", "x%RESPONSE_CODE%y"},
        {"mixn", "x%REQ(nope)%y"},
        {"two", "%RESPONSE_CODE%%RESPONSE_CODE%"},
        {"pct", "100%%"},
        {"e", ""},
        {"esc", "%REQ(x-odd)%"},
        {"latin", "%REQ(x-latin)%"},
        {"fl", "%RESPONSE_FLAGS%"},
        {"gs", "%GRPC_STATUS_NUMBER%"},
        {"cut", "%REQ(x-a):3%"},
        {"port", "%DOWNSTREAM_LOCAL_PORT%"},
        {"st", "%RESP(:status)%"},
        {"q\"k", "v\"\n\x01\xc3\xa9"},
        {"x-empty", "%REQ(x-empty)%"},
        {"d", "%RESPONSE_DURATION%"},
    };
    (void)state;
    struct arena *a = arena_new(512);
    struct format_json *j = format_json_new(a);
    struct err err = {0};
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        assert_true(format_json_add(j, str_of(fields[i][0]), str_of(fields[i][1]), &err));
    format_json_run(j, &answered, header, NULL, &out);
    char *text = buf_take(&out);
    assert_string_equal(
        text,
        "{\"a\":200,\"cut\":\"hel\",\"d\":9,\"e\":\"\",\"esc\":\"he\\\"llo\\\\ "
        "\\t</>\xc3\xa9\",\"fl\":\"-\","
        "\"gs\":null,\"latin\":\"\\u00e9a\",\"mix\":\"x200y\",\"mixn\":\"x-y\",\"n\":null,\"pct\":"
        "\"100%\","
        "\"port\":80,\"q\\\"k\":\"v\\\"\\n\\u0001\xc3\xa9\",\"st\":\"200\",\"two\":\"200200\","
        "\"x-empty\":\"\",\"z\":\"HTTP/1.1\"}\n");
    free(text);
    assert_false(format_json_add(j, STR("z"), STR("twice"), &err));
    assert_non_null(strstr(err.text, "\"z\" is given twice"));
    err = (struct err){0};
    assert_false(format_json_add(j, STR("bad"), STR("%NOPE%"), &err));
    assert_true(err.set);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_print_what_happened_or_a_dash),
        cmocka_unit_test(istios_line_prints),
        cmocka_unit_test(the_host_has_a_name),
        cmocka_unit_test(local_time_follows_the_zone),
        cmocka_unit_test(the_time_of_writing_is_now),
        cmocka_unit_test(without_headers_they_are_absent),
        cmocka_unit_test(what_envoy_refuses_or_we_lack_is_refused_by_name),
        cmocka_unit_test(a_long_time_format_is_refused),
        cmocka_unit_test(literals_are_known),
        cmocka_unit_test(json_keeps_types_and_sorts_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
