/* The byte queue: order, reuse of consumed room, number and printf forms. */
#include "sidecar/base/buf.h"

#include "sidecar/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_empty_buffer_has_no_bytes(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_str(&b).n, 0);
    assert_null(buf_head(&b));
    buf_append(&b, NULL, 0);
    buf_consume(&b, 0);
    buf_clear(&b);
    assert_null(b.data);
    char *text = buf_take(&b);
    assert_string_equal(text, "");
    free(text);
    buf_fini(&b);
}

static void bytes_come_out_in_order_however_they_are_cut(void **state)
{
    (void)state;
    struct buf b = {0};
    struct rng r;
    uint8_t in = 0, out = 0;
    rng_seed(&r, 1);
    for (unsigned step = 0; step < 20000; step++) {
        if (rng_below(&r, 2)) {
            for (uint64_t n = rng_below(&r, 100); n > 0; n--)
                buf_append_byte(&b, in++);
        } else {
            for (uint64_t n = rng_below(&r, buf_len(&b) + 1); n > 0; n--) {
                assert_int_equal(*buf_head(&b), out++);
                buf_consume(&b, 1);
            }
        }
        assert_true(b.off <= b.end && b.end <= b.cap);
    }
    buf_fini(&b);
    assert_null(b.data);
}

static void a_queue_that_is_drained_does_not_grow(void **state)
{
    (void)state;
    struct buf b = {0};
    char block[100] = {0};
    buf_append(&b, block, sizeof(block));
    for (unsigned i = 0; i < 10000; i++) {
        buf_append(&b, block, sizeof(block));
        buf_consume(&b, sizeof(block));
    }
    assert_true(b.cap <= 1024);
    buf_fini(&b);
}

static void reserve_and_commit_append(void **state)
{
    (void)state;
    struct buf b = {0};
    memcpy(buf_reserve(&b, 5000), "hello", 5);
    assert_true(b.cap >= 5000);
    buf_commit(&b, 5);
    assert_true(str_eq_c(buf_str(&b), "hello"));
    assert_non_null(buf_reserve(&b, 0));
    buf_fini(&b);
}

static void numbers_and_formats_append(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append_u64(&b, 0);
    buf_append_byte(&b, ' ');
    buf_append_u64(&b, UINT64_MAX);
    buf_append_c(&b, "|");
    buf_append_str(&b, STR("s"));
    buf_append_str(&b, STR_NONE);
    buf_printf(&b, "%c%05d", '=', 42);
    char *text = buf_take(&b);
    assert_string_equal(text, "0 18446744073709551615|s=00042");
    free(text);
    for (unsigned i = 0; i < 100; i++)
        buf_printf(&b, "%0300d", 0);
    assert_int_equal(buf_len(&b), 30000);
    buf_fini(&b);
}

static void take_gives_only_unread_bytes(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append_c(&b, "abcdef");
    buf_consume(&b, 4);
    char *text = buf_take(&b);
    assert_string_equal(text, "ef");
    free(text);
    assert_int_equal(buf_len(&b), 0);
    buf_append_c(&b, "again");
    assert_true(str_eq_c(buf_str(&b), "again"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_has_no_bytes),
        cmocka_unit_test(bytes_come_out_in_order_however_they_are_cut),
        cmocka_unit_test(a_queue_that_is_drained_does_not_grow),
        cmocka_unit_test(reserve_and_commit_append),
        cmocka_unit_test(numbers_and_formats_append),
        cmocka_unit_test(take_gives_only_unread_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
