/* What of a request's end outlier detection hears: one failure ejects here, so an ejection says that it was told. */
#include "tests/unit/proxy/exchange_rows.h"

#define ONE_IS_ENOUGH                                                                                          \
    "outlier_detection: {consecutive_5xx: 1, consecutive_local_origin_failure: 1, max_ejection_percent: 100, " \
    "base_ejection_time: 60s}"
#define EJECTED                                                                \
    {                                                                          \
        "cluster.c.outlier_detection.ejections_active=1",                      \
            "cluster.c.outlier_detection.ejections_enforced_consecutive_5xx=1" \
    }
#define SPARED                                           \
    {                                                    \
        "cluster.c.outlier_detection.ejections_active=0" \
    }

/* The host's own answer, which outlier detection hears of. */
#define ANSWERED(name, request, cluster, code, what_of_the_host, ...) \
    {name, request, cluster, "", "", {__VA_ARGS__}, .status = code, .flags = "-", .details = "via_upstream", .stats = what_of_the_host}

static void failures_of_the_host_are_told(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ANSWERED("an answer of 500", GET, ONE_IS_ENOUGH, 500, EJECTED, CODE("500")),
        ANSWERED("gRPC's status 14 in the head", GRPC, ONE_IS_ENOUGH, 200, EJECTED,
                 "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"),
        {"a connection that was refused", GET, ONE_IS_ENOUGH, "", "", .to = "dead", .status = 503, .flags = "UF",
         .details = "remote_connection_failure", .stats = EJECTED},
        {"a hang-up before the answer",
         GET,
         ONE_IS_ENOUGH,
         "",
         "",
         {FIN},
         .status = 503,
         .flags = "UC",
         .details = "connection_termination",
         .stats = EJECTED},
        {"a hang-up in the answer",
         GET,
         ONE_IS_ENOUGH,
         "",
         "",
         {"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf|FIN"},
         .status = 200,
         .flags = "UPE",
         .details = "upstream_reset_after_response_started",
         .stats = EJECTED},
        {"no HTTP",
         GET,
         ONE_IS_ENOUGH,
         "",
         "",
         {"this is no HTTP\r\n\r\n"},
         .status = 502,
         .flags = "UPE",
         .details = "protocol_error",
         .stats = EJECTED},
        {"no answer in the route's time",
         GET,
         ONE_IS_ENOUGH,
         "timeout: 0.1s",
         "",
         {HANG},
         .status = 504,
         .flags = "UT",
         .details = "response_timeout",
         .stats = EJECTED},
        {"no answer in the time of one try",
         GET,
         ONE_IS_ENOUGH,
         RETRY("retry_on: connect-failure, per_try_timeout: 0.1s"),
         "",
         {HANG},
         .status = 504,
         .flags = "UT",
         .details = "upstream_per_try_timeout",
         .stats = EJECTED},
        {"the first of two tries",
         GET,
         ONE_IS_ENOUGH ", common_lb_config: {healthy_panic_threshold: {value: 100}}",
         RETRY("retry_on: 5xx"),
         "",
         {CODE("503"), OK},
         .status = 200,
         .flags = "-",
         .details = "via_upstream",
         .stats = EJECTED},
    };
    RUN(rows);
}

/* An error_matcher says which statuses are errors, instead of 5xx. */
static void statuses_that_are_named_are_the_errors(void **state)
{
    (void)state;
#define STATUS(match) "{http_response_headers_match: {headers: [{name: ':status', " match "}]}}"
#define ERRORS(matcher)                                                                                                  \
    ONE_IS_ENOUGH ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {" TYPE( \
        "upstreams.http.v3.HttpProtocolOptions") ", explicit_http_config: {http_protocol_options: {}}, "                 \
                                                 "outlier_detection: {error_matcher: " matcher "}}}"
#define IS_429 STATUS("string_match: {exact: '429'}")
#define IS_429_OR_5XX "{or_match: {rules: [" IS_429 ", " STATUS("range_match: {start: 500, end: 600}") "]}}"
    static const struct row rows[] = {
        ANSWERED("one that is named", GET, ERRORS(IS_429), 429, EJECTED, CODE("429")),
        ANSWERED("one that is not", GET, ERRORS(IS_429), 500, SPARED, CODE("500")),
        ANSWERED("one of a range", GET, ERRORS(IS_429_OR_5XX), 502, EJECTED, CODE("502")),
        ANSWERED("one outside of all", GET, ERRORS(IS_429_OR_5XX), 404, SPARED, CODE("404")),
        {"what is no answer is an error all the same",
         GET,
         ERRORS(IS_429),
         "",
         "",
         {FIN},
         .status = 503,
         .flags = "UC",
         .details = "connection_termination",
         .stats = EJECTED},
        ANSWERED("gRPC's own status counts as ever", GRPC, ERRORS(IS_429), 200, EJECTED,
                 "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"),
    };
    RUN(rows);
}

static void what_is_no_fault_of_the_host_is_not_told(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ANSWERED("a success", GET, ONE_IS_ENOUGH, 200, SPARED, OK),
        ANSWERED("an answer of 404", GET, ONE_IS_ENOUGH, 404, SPARED, CODE("404")),
        {"our own limit", GET, ONE_IS_ENOUGH ", " LIMITS("max_requests: 0"), "", "", .status = 503, .flags = "UO",
         .details = "overflow", .stats = SPARED},
        {"a client that leaves",
         GET,
         ONE_IS_ENOUGH,
         "",
         "",
         {HANG},
         .status = 0,
         .flags = "DC",
         .details = "downstream_remote_disconnect",
         .stats = SPARED},
        {"a SYN without an answer, when the route's time is over first", GET, ONE_IS_ENOUGH, "timeout: 0.1s", "",
         .to = "silent", .status = 504, .flags = "UT", .details = "response_timeout", .stats = SPARED},
        {"a late answer that is told as 204",
         GET_WITH("x-envoy-upstream-rq-timeout-alt-response: 1"),
         ONE_IS_ENOUGH,
         "timeout: 0.1s",
         INTERNAL,
         {HANG},
         .status = 204,
         .flags = "UT",
         .details = "response_timeout",
         .stats = SPARED},
        ANSWERED("gRPC's status 5 in the head", GRPC, ONE_IS_ENOUGH, 200, SPARED,
                 "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n"),
    };
    RUN(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_of_the_host_are_told),
        cmocka_unit_test(statuses_that_are_named_are_the_errors),
        cmocka_unit_test(what_is_no_fault_of_the_host_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
