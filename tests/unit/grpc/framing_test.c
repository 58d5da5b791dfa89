#include "sidecar/grpc/framing.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put_message(struct buf *b, const char *text, size_t n)
{
    uint8_t head[FRAMING_HEAD_BYTES];
    framing_head(head, n);
    buf_append(b, head, sizeof(head));
    buf_append(b, text, n);
}

/* Feeds the bytes in pieces of `step` and appends each message and a '|' to out. */
static enum framing_result run(struct framing *f, struct str bytes, size_t step, struct buf *out)
{
    while (bytes.n > 0) {
        struct str piece = str_sub(bytes, 0, step);
        bytes = str_sub(bytes, step, bytes.n);
        struct str message;
        enum framing_result got;
        while ((got = framing_next(f, &piece, &message)) == FRAMING_MESSAGE) {
            buf_append_str(out, message);
            buf_append_byte(out, '|');
        }
        if (got != FRAMING_MORE)
            return got;
        assert_int_equal(piece.n, 0);
    }
    return FRAMING_MORE;
}

static void messages_are_the_same_however_the_bytes_are_cut(void **state)
{
    (void)state;
    struct buf bytes = {0};
    put_message(&bytes, "alpha", 5);
    put_message(&bytes, "", 0);
    put_message(&bytes, "a longer message", 16);
    put_message(&bytes, "", 0);
    for (size_t step = 1; step <= buf_len(&bytes); step++) {
        struct framing f;
        struct buf out = {0};
        framing_init(&f, 16);
        assert_int_equal(run(&f, buf_str(&bytes), step, &out), FRAMING_MORE);
        assert_true(str_eq_c(buf_str(&out), "alpha||a longer message||"));
        assert_false(framing_is_partial(&f));
        framing_fini(&f);
        buf_fini(&out);
    }
    buf_fini(&bytes);
}

static void a_cut_message_is_partial_until_its_last_byte(void **state)
{
    (void)state;
    struct buf bytes = {0};
    put_message(&bytes, "abc", 3);
    for (size_t cut = 1; cut < buf_len(&bytes); cut++) {
        struct framing f;
        struct str message, input = str_sub(buf_str(&bytes), 0, cut);
        framing_init(&f, 16);
        assert_int_equal(framing_next(&f, &input, &message), FRAMING_MORE);
        assert_true(framing_is_partial(&f));
        framing_fini(&f);
    }
    buf_fini(&bytes);
}

static void faults(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t bytes[FRAMING_HEAD_BYTES];
        enum framing_result want;
    } rows[] = {
        {"a length at the limit is awaited", {0, 0, 0, 0, 16}, FRAMING_MORE},
        {"a length above the limit is refused before its bytes come", {0, 0, 0, 0, 17}, FRAMING_TOO_LARGE},
        {"the largest length is refused", {0, 255, 255, 255, 255}, FRAMING_TOO_LARGE},
        {"a compressed message is refused", {1, 0, 0, 0, 1}, FRAMING_COMPRESSED},
        {"an unknown flag is refused", {128, 0, 0, 0, 1}, FRAMING_COMPRESSED},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step <= FRAMING_HEAD_BYTES; step++) {
            struct framing f;
            struct buf out = {0};
            framing_init(&f, 16);
            struct str bytes = str_n((const char *)rows[i].bytes, FRAMING_HEAD_BYTES);
            if (run(&f, bytes, step, &out) != rows[i].want)
                fail_msg("%s (in steps of %zu)", rows[i].name, step);
            struct str none = STR_NONE, message;
            assert_int_equal(framing_next(&f, &none, &message), rows[i].want);
            if (rows[i].want == FRAMING_TOO_LARGE)
                assert_true(framing_length(&f) > 16);
            framing_fini(&f);
            buf_fini(&out);
        }
    }
}

static void a_promised_length_takes_no_memory(void **state)
{
    (void)state;
    struct framing f;
    framing_init(&f, UINT32_MAX);
    struct str message, input = str_n("\0\xff\xff\xff\xff" "abc", 8);
    assert_int_equal(framing_next(&f, &input, &message), FRAMING_MORE);
    assert_true(f.partial.cap < 4096);
    framing_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(a_cut_message_is_partial_until_its_last_byte),
        cmocka_unit_test(faults),
        cmocka_unit_test(a_promised_length_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
