/* Words, verdicts, and the permit that follows them. */
#include "sidecar/resilience/retry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define RESPONSE(code)                                                      \
    {                                                                       \
        .event = RETRY_EVENT_RESPONSE, .status = (code), .grpc_status = -1, \
        .request_started = true                                             \
    }
#define FAILED(kind, sent)                                            \
    {                                                                 \
        .event = (kind), .grpc_status = -1, .request_started = (sent) \
    }
#define GRPC(code)                                                           \
    {                                                                        \
        .event = RETRY_EVENT_RESPONSE, .status = 200, .grpc_status = (code), \
        .request_started = true                                              \
    }

static const struct want_case {
    const char *name;
    const char *words;
    struct retry_facts facts;
    bool want;
} want_cases[] = {
    {"5xx takes 500", "5xx", RESPONSE(500), true},
    {"5xx takes 599", "5xx", RESPONSE(599), true},
    {"5xx leaves 429", "5xx", RESPONSE(429), false},
    {"a hedge asks for no words", "retriable-4xx", FAILED(RETRY_EVENT_HEDGE, true), true},
    {"5xx takes a reset", "5xx", FAILED(RETRY_EVENT_RESET, true), true},
    {"5xx takes a refused connection", "5xx", FAILED(RETRY_EVENT_CONNECT_FAILURE, false), true},
    {"nothing takes our own overflow", "5xx,reset,connect-failure,reset-before-request",
     FAILED(RETRY_EVENT_OVERFLOW, false), false},
    {"gateway-error takes 502", "gateway-error", RESPONSE(502), true},
    {"gateway-error takes 504", "gateway-error", RESPONSE(504), true},
    {"gateway-error leaves 500", "gateway-error", RESPONSE(500), false},
    {"gateway-error leaves 505", "gateway-error", RESPONSE(505), false},
    {"gateway-error takes a reset", "gateway-error", FAILED(RETRY_EVENT_RESET, true), true},
    {"reset takes a reset", "reset", FAILED(RETRY_EVENT_RESET, true), true},
    {"reset takes a refused connection", "reset", FAILED(RETRY_EVENT_CONNECT_FAILURE, false), true},
    {"reset leaves 503", "reset", RESPONSE(503), false},
    {"reset-before-request takes an unsent one", "reset-before-request",
     FAILED(RETRY_EVENT_RESET, false), true},
    {"reset-before-request leaves a sent one", "reset-before-request",
     FAILED(RETRY_EVENT_RESET, true), false},
    {"connect-failure takes a refused connection", "connect-failure",
     FAILED(RETRY_EVENT_CONNECT_FAILURE, false), true},
    {"connect-failure leaves a reset", "connect-failure", FAILED(RETRY_EVENT_RESET, false), false},
    {"refused-stream takes it", "refused-stream", FAILED(RETRY_EVENT_REFUSED_STREAM, true), true},
    {"refused-stream leaves a reset", "refused-stream", FAILED(RETRY_EVENT_RESET, true), false},
    {"retriable-4xx takes 409", "retriable-4xx", RESPONSE(409), true},
    {"retriable-4xx leaves 404", "retriable-4xx", RESPONSE(404), false},
    {"retriable-status-codes takes a listed one", "retriable-status-codes", RESPONSE(503), true},
    {"retriable-status-codes leaves others", "retriable-status-codes", RESPONSE(500), false},
    {"codes without the word count for nothing", "reset", RESPONSE(503), false},
    {"unavailable takes 14", "unavailable", GRPC(14), true},
    {"unavailable leaves 13", "unavailable", GRPC(13), false},
    {"cancelled takes 1", "cancelled", GRPC(1), true},
    {"deadline-exceeded takes 4", "deadline-exceeded", GRPC(4), true},
    {"internal takes 13", "internal", GRPC(13), true},
    {"resource-exhausted takes 8", "resource-exhausted", GRPC(8), true},
    {"words may have spaces around", "reset , unavailable", GRPC(14), true},
    {"unknown words are skipped", "nonsense,5xx", RESPONSE(500), true},
    {"a rate-limited answer is not retried",
     "5xx",
     {.event = RETRY_EVENT_RESPONSE, .status = 503, .grpc_status = -1, .ratelimited = true},
     false},
    {"unless envoy-ratelimited says so",
     "envoy-ratelimited",
     {.event = RETRY_EVENT_RESPONSE, .status = 429, .grpc_status = -1, .ratelimited = true},
     true},
    {"retriable-headers takes a match, even of a 200",
     "retriable-headers",
     {.event = RETRY_EVENT_RESPONSE, .status = 200, .grpc_status = -1, .matches_headers = true},
     true},
    {"a match without the word counts for nothing",
     "5xx",
     {.event = RETRY_EVENT_RESPONSE, .status = 200, .grpc_status = -1, .matches_headers = true},
     false},
};

static const uint16_t codes[] = {418, 503};

static void words_want_what_envoys_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(want_cases); i++) {
        const struct want_case *c = &want_cases[i];
        struct retry r = {
            .on = retry_on_words(str_of(c->words)), .status_codes = codes, .status_code_count = 2};
        if (retry_wants(&r, &c->facts) != c->want)
            fail_msg("%s: wanted %d", c->name, c->want);
    }
}

static void every_word_has_a_bit_of_its_own(void **state)
{
    (void)state;
    static const char all[] =
        "5xx,gateway-error,reset,reset-before-request,connect-failure,refused-stream,retriable-4xx,"
        "retriable-status-codes,retriable-headers,envoy-ratelimited,http3-post-connect-failure,"
        "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable";
    assert_int_equal(retry_on_words(str_of(all)), 0xffff);
    assert_int_equal(retry_on_word(str_of("503")), 0);
    assert_int_equal(retry_on_words(str_of("")), 0);
}

static const struct retry_facts bad = RESPONSE(503), good = RESPONSE(200);

static struct retry retry_of(struct breaker *b, uint32_t num_retries)
{
    struct retry r = {.on = RETRY_5XX, .remaining = num_retries, .breaker = b};
    backoff_init(&r.backoff, 25, 250);
    return r;
}

static void retries_end_with_num_retries(void **state)
{
    (void)state;
    struct breaker b = {0};
    breaker_set_limit(&b, BREAKER_RETRY, 3);
    struct retry r = retry_of(&b, 2);
    bool succeeded;
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_YES);
    assert_int_equal(breaker_active(&b, BREAKER_RETRY), 1);
    assert_in_range(retry_delay_ms(&r, 7777), 0, 24);
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_YES);
    assert_false(succeeded);
    assert_in_range(retry_delay_ms(&r, 49), 49, 49);
    assert_int_equal(breaker_active(&b, BREAKER_RETRY), 1);
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_LIMIT_EXCEEDED);
    assert_false(succeeded);
    assert_int_equal(breaker_active(&b, BREAKER_RETRY), 0);
}

static void a_good_retry_is_a_success(void **state)
{
    (void)state;
    struct breaker b = {0};
    breaker_set_limit(&b, BREAKER_RETRY, 3);
    struct retry r = retry_of(&b, 2);
    bool succeeded;
    assert_int_equal(retry_decide(&r, &good, &succeeded), RETRY_VERDICT_NO);
    assert_false(succeeded);
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_YES);
    assert_int_equal(retry_decide(&r, &good, &succeeded), RETRY_VERDICT_NO);
    assert_true(succeeded);
    assert_int_equal(breaker_active(&b, BREAKER_RETRY), 0);
}

static void a_full_breaker_refuses_and_uses_up_one(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct retry r = retry_of(&b, 2);
    bool succeeded;
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_OVERFLOW);
    assert_int_equal(r.remaining, 1);
    assert_null(r.permit.breaker);
}

static void without_retries_left_the_limit_is_named(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct retry r = retry_of(&b, 0);
    bool succeeded;
    assert_int_equal(retry_decide(&r, &bad, &succeeded), RETRY_VERDICT_LIMIT_EXCEEDED);
    struct retry none = {0};
    assert_int_equal(retry_decide(&none, &bad, &succeeded), RETRY_VERDICT_NO);
    retry_end(&none);
}

static const struct reset_case {
    const char *name, *value;
    bool is_timestamp, ok;
    uint64_t ms;
} reset_cases[] = {
    {"seconds", "2", false, true, 2000},
    {"none at all", "0", false, true, 0},
    {"as many as are believed", "300", false, true, 300000},
    {"more than is believed", "301", false, false, 0},
    {"more than fits", "18446744073709551615", false, false, 0},
    {"a word", "soon", false, false, 0},
    {"below zero", "-1", false, false, 0},
    {"nothing", "", false, false, 0},
    {"a moment to come", "1010", true, true, 10000},
    {"now", "1000", true, false, 0},
    {"a moment gone", "10", true, false, 0},
    {"a moment too far off", "1301", true, false, 0},
};

static void hosts_may_say_when(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reset_cases); i++) {
        const struct reset_case *c = &reset_cases[i];
        uint64_t ms = 0;
        if (retry_reset_ms(str_of(c->value), c->is_timestamp, 1000, 300000, &ms) != c->ok || ms != c->ms)
            fail_msg("%s: %llu", c->name, (unsigned long long)ms);
    }
}

static void what_a_host_asked_for_grows_by_half_at_most(void **state)
{
    (void)state;
    assert_int_equal(retry_reset_delay_ms(0, 12345), 0);
    assert_int_equal(retry_reset_delay_ms(1000, 0), 1000);
    assert_int_equal(retry_reset_delay_ms(1000, 499), 1499);
    assert_int_equal(retry_reset_delay_ms(1000, 500), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_may_say_when),
        cmocka_unit_test(what_a_host_asked_for_grows_by_half_at_most),
        cmocka_unit_test(words_want_what_envoys_do),
        cmocka_unit_test(every_word_has_a_bit_of_its_own),
        cmocka_unit_test(retries_end_with_num_retries),
        cmocka_unit_test(a_good_retry_is_a_success),
        cmocka_unit_test(a_full_breaker_refuses_and_uses_up_one),
        cmocka_unit_test(without_retries_left_the_limit_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
