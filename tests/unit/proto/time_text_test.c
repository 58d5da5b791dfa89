/* Texts of durations and points in time; numbers and base64 beside them. */
#include "proto/time_text.h"

#include "proto/base64.h"
#include "proto/json_write.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

enum form { PROTOBUF = 1, GO = 2, BOTH = 3 };

static void durations_are_read_in_their_own_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum form good;
        int64_t seconds;
        int32_t nanos;
    } cases[] = {
        {"0s", BOTH, 0, 0},
        {"1s", BOTH, 1, 0},
        {"1.5s", BOTH, 1, 500000000},
        {"-1.5s", BOTH, -1, -500000000},
        {"0.000000001s", BOTH, 0, 1},
        {"315576000000s", BOTH, 315576000000, 0},
        {"-315576000000s", BOTH, -315576000000, 0},
        {"315576000000.1s", 0, 0, 0},
        {"999999999999999999s", 0, 0, 0},
        {"9999999999999999999s", 0, 0, 0},
        {"0.0000000001s", GO, 0, 0},
        {"1.s", BOTH, 1, 0},
        {".5s", GO, 0, 500000000},
        {"1m30s", GO, 90, 0},
        {"24h", GO, 86400, 0},
        {"1.5h", GO, 5400, 0},
        {"1h2m3.004s", GO, 3723, 4000000},
        {"100ms", GO, 0, 100000000},
        {"250us", GO, 0, 250000},
        {"250\xc2\xb5s", GO, 0, 250000},
        {"7ns", GO, 0, 7},
        {"-2m", GO, -120, 0},
        {"+2m", GO, 120, 0},
        {"0", GO, 0, 0},
        {"-0", GO, 0, 0},
        {"", 0, 0, 0},
        {"s", 0, 0, 0},
        {"-", 0, 0, 0},
        {"1", 0, 0, 0},
        {"1 s", 0, 0, 0},
        {"1d", 0, 0, 0},
        {"1S", 0, 0, 0},
        {"1m 30s", 0, 0, 0},
        {"1m30", 0, 0, 0},
        {"--1s", 0, 0, 0},
        {".s", 0, 0, 0},
        {"99999999h", 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t seconds[2] = {0};
        int32_t nanos[2] = {0};
        struct str text = str_of(cases[i].text);
        bool good[2] = {time_text_duration(text, &seconds[0], &nanos[0]),
                        time_text_go_duration(text, &seconds[1], &nanos[1])};
        if (good[0] != !!(cases[i].good & PROTOBUF) || good[1] != !!(cases[i].good & GO))
            fail_msg("\"%s\": %d %d", cases[i].text, good[0], good[1]);
        for (int form = 0; form < 2; form++)
            if (good[form] && (seconds[form] != cases[i].seconds || nanos[form] != cases[i].nanos))
                fail_msg("\"%s\": %lld %d", cases[i].text, (long long)seconds[form], nanos[form]);
    }
}

static void points_in_time_go_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *text, *back; /* back NULL: the same */
        int64_t seconds;
        int32_t nanos;
    } cases[] = {
        {"1970-01-01T00:00:00Z", NULL, 0, 0},
        {"1969-12-31T23:59:59.999Z", NULL, -1, 999000000},
        {"2026-11-21T09:52:11.123456Z", NULL, 1795254731, 123456000},
        {"2000-02-29T00:00:00.000000001Z", NULL, 951782400, 1},
        {"0001-01-01T00:00:00Z", NULL, -62135596800, 0},
        {"9999-12-31T23:59:59Z", NULL, 253402300799, 0},
        {"2026-11-21t09:52:11.5z", "2026-11-21T09:52:11.500Z", 1795254731, 500000000},
        {"2026-11-21T11:52:11+02:00", "2026-11-21T09:52:11Z", 1795254731, 0},
        {"2026-11-21T00:22:11-09:30", "2026-11-21T09:52:11Z", 1795254731, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t seconds;
        int32_t nanos;
        struct buf back = {0};
        if (!time_text_timestamp(str_of(cases[i].text), &seconds, &nanos))
            fail_msg("%s was refused", cases[i].text);
        assert_int_equal(seconds, cases[i].seconds);
        assert_int_equal(nanos, cases[i].nanos);
        time_text_write_timestamp(&back, seconds, nanos);
        assert_true(str_eq_c(buf_str(&back), cases[i].back ? cases[i].back : cases[i].text));
        buf_fini(&back);
    }
}

static void what_is_no_point_in_time_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "2026-11-21",
        "2026-11-21T09:52:11",
        "2026-11-21 09:52:11Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T09:60:11Z",
        "2026-11-21T09:52:60Z",
        "0000-01-01T00:00:00Z",
        "2026-11-21T09:52:11.Z",
        "2026-11-21T09:52:11.1234567890Z",
        "2026-11-21T09:52:11ZZ",
        "2026-11-21T09:52:11+2:00",
        "26-11-21T09:52:11Z",
        "2026-11-21T09:52:11+02:00Z",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int64_t seconds;
        int32_t nanos;
        if (time_text_timestamp(str_of(texts[i]), &seconds, &nanos))
            fail_msg("%s was taken", texts[i]);
    }
}

static void durations_are_written_with_whole_groups_of_digits(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        int32_t nanos;
        const char *text;
    } cases[] = {
        {0, 0, "0s"},
        {90, 0, "90s"},
        {0, 1, "0.000000001s"},
        {1, 500000000, "1.500s"},
        {0, -1000, "-0.000001s"},
        {-1, -500000000, "-1.500s"},
        {INT64_MIN, 0, "-9223372036854775808s"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        time_text_write_duration(&b, cases[i].seconds, cases[i].nanos);
        assert_true(str_eq_c(buf_str(&b), cases[i].text));
        buf_fini(&b);
    }
}

static void numbers_are_written_as_short_as_they_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-3, "-3"},
        {0.1, "0.1"},
        {1.1, "1.1"},
        {1e15, "1e+15"},
        {123456789012345, "123456789012345"},
        {1.0 / 3, "0.3333333333333333"},
        {5e-324, "4.94065645841247e-324"},
        {(double)INFINITY, "\"Infinity\""},
        {-(double)INFINITY, "\"-Infinity\""},
        {(double)NAN, "\"NaN\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        json_write_double(&b, cases[i].value);
        if (!str_eq_c(buf_str(&b), cases[i].text))
            fail_msg("%s: %.*s", cases[i].text, STR_FMT(buf_str(&b)));
        buf_fini(&b);
    }
    struct buf b = {0};
    json_write_float(&b, 0.1f);
    assert_true(str_eq_c(buf_str(&b), "0.1"));
    buf_fini(&b);
}

static void texts_are_escaped(void **state)
{
    (void)state;
    struct buf b = {0};
    json_write_string(&b, STR("a\"b\\c\n\t\x01\x7f\xc3\xa9/"));
    assert_true(str_eq_c(buf_str(&b), "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\xc3\xa9/\""));
    buf_clear(&b);
    json_write_string(&b, STR_NONE);
    assert_true(str_eq_c(buf_str(&b), "\"\""));
    buf_fini(&b);
}

static void base64_is_rfc_4648s(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        const char *bytes; /* good: what it says; and it is written so, when padded */
        bool canonical;
    } cases[] = {
        {"", true, "", true},
        {"Zg==", true, "f", true},
        {"Zm8=", true, "fo", true},
        {"Zm9v", true, "foo", true},
        {"Zm9vYg==", true, "foob", true},
        {"Zg", true, "f", false},
        {"Zm8", true, "fo", false},
        {"_-8", true, "\xff\xef", false},
        {"/+8=", true, "\xff\xef", true},
        {"Z", false, NULL, false},
        {"Zg=", false, NULL, false},
        {"Zm9v=", false, NULL, false},
        {"Z===", false, NULL, false},
        {"Zm 8=", false, NULL, false},
        {"Zg==Zg==", false, NULL, false},
        {"=", false, NULL, false},
        {"Zm9\n", false, NULL, false},
    };
    struct arena *arena = arena_new(256);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *data;
        size_t n;
        bool good = base64_read(str_of(cases[i].text), arena, &data, &n);
        if (good != cases[i].good)
            fail_msg("\"%s\": %d", cases[i].text, good);
        if (!good)
            continue;
        assert_true(str_eq_c(str_n((char *)data, n), cases[i].bytes));
        struct buf back = {0};
        base64_write(&back, data, n);
        assert_int_equal(str_eq_c(buf_str(&back), cases[i].text), cases[i].canonical);
        buf_fini(&back);
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_in_their_own_forms),
        cmocka_unit_test(points_in_time_go_both_ways),
        cmocka_unit_test(what_is_no_point_in_time_is_refused),
        cmocka_unit_test(durations_are_written_with_whole_groups_of_digits),
        cmocka_unit_test(numbers_are_written_as_short_as_they_read_back),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(base64_is_rfc_4648s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
