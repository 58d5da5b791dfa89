#include "sidecar/grpc/grpc.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void timeouts(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool ok;
        uint64_t ns;
    } rows[] = {
        {"1500m", true, 1500000000ull},
        {"1S", true, 1000000000ull},
        {"0n", true, 0},
        {"7u", true, 7000},
        {"2M", true, 120000000000ull},
        {"1H", true, 3600000000000ull},
        {"99999999H", true, UINT64_MAX}, /* 3.6e20 ns saturates */
        {"99999999S", true, 99999999000000000ull},
        {"100000000S", false, 0}, /* nine digits */
        {"", false, 0},
        {"S", false, 0},
        {"5", false, 0},
        {"5s", false, 0},
        {"-5S", false, 0},
        {"+5S", false, 0},
        {" 5S", false, 0},
        {"5 S", false, 0},
        {"0x5S", false, 0},
        {"5SS", false, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ns = 0;
        bool ok = grpc_timeout_parse(str_of(rows[i].value), &ns);
        if (ok != rows[i].ok || ns != rows[i].ns)
            fail_msg("%s: %d %llu", rows[i].value, ok, (unsigned long long)ns);
    }
}

static void a_written_timeout_is_never_shorter(void **state)
{
    (void)state;
    static const uint64_t rows[] = {1,           250,          99999999,        100000000,
                                    100000001,   99999999999,  9999999999001,  18000000000000};
    struct arena *arena = arena_new(256);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ns;
        struct str text = grpc_timeout_format(arena, rows[i]);
        assert_true(grpc_timeout_parse(text, &ns));
        assert_true(ns / 1000000 >= rows[i]);
        assert_true(ns / 1000000 <= rows[i] + 3600000);
    }
    assert_true(str_eq_c(grpc_timeout_format(arena, 250), "250m"));
    arena_free(&arena);
}

static void messages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *encoded;
    } rows[] = {
        {"plain text, with ~ and \"", "plain text, with ~ and \""},
        {"100%", "100%25"},
        {"line\r\nbreak", "line%0D%0Abreak"},
        {"caf\xc3\xa9", "caf%C3%A9"},
        {"", ""},
    };
    struct arena *arena = arena_new(256);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct str encoded = grpc_message_encode(arena, str_of(rows[i].text));
        assert_true(str_eq(encoded, str_of(rows[i].encoded)));
        assert_true(str_eq(grpc_message_decode(arena, encoded), str_of(rows[i].text)));
    }
    assert_true(str_eq_c(grpc_message_decode(arena, STR("a%zzb%4")), "a%zzb%4"));
    assert_true(str_eq_c(grpc_message_decode(arena, STR("%4a%")), "J%"));
    arena_free(&arena);
}

static void statuses(void **state)
{
    (void)state;
    enum grpc_status status = GRPC_OK;
    assert_true(grpc_status_parse(STR("14"), &status));
    assert_int_equal(status, GRPC_UNAVAILABLE);
    assert_true(grpc_status_parse(STR("17"), &status));
    assert_int_equal(status, GRPC_UNKNOWN);
    assert_false(grpc_status_parse(STR(""), &status));
    assert_false(grpc_status_parse(STR("x"), &status));
    assert_false(grpc_status_parse(STR("-1"), &status));
    assert_string_equal(grpc_status_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_int_equal(grpc_status_of_http(400), GRPC_INTERNAL);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_to_http(STR("0")), 200);
    assert_int_equal(grpc_status_to_http(STR("4")), 504);
    assert_int_equal(grpc_status_to_http(STR("12")), 501);
    assert_int_equal(grpc_status_to_http(STR("14")), 503);
    assert_int_equal(grpc_status_to_http(STR("16")), 401);
    assert_int_equal(grpc_status_to_http(STR("17")), 500);
    assert_int_equal(grpc_status_to_http(STR("x")), 500);
    assert_int_equal(grpc_status_of_http(200), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_of_http(500), GRPC_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts),
        cmocka_unit_test(a_written_timeout_is_never_shorter),
        cmocka_unit_test(messages),
        cmocka_unit_test(statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
