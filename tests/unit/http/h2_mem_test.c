#include "sidecar/http/h2_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PIECES 200u

struct held {
    uint8_t *p;
    size_t n;
    uint8_t mark;
};

static void check(const struct held *h)
{
    for (size_t i = 0; i < h->n; i++)
        assert_int_equal(h->p[i], h->mark);
}

/* Sizes around every step, and above what is kept. */
static void pieces_never_overlap(void **state)
{
    struct held held[PIECES] = {0};
    uint32_t random = 1;
    (void)state;
    for (unsigned turn = 0; turn < 20000; turn++) {
        random = random * 1664525 + 1013904223;
        struct held *h = &held[(random >> 8) % PIECES];
        check(h);
        h2_mem_free(h->p);
        h->n = (random >> 16) % 1200;
        h->mark = (uint8_t)turn;
        h->p = h2_mem_alloc(h->n);
        memset(h->p, h->mark, h->n);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        check(&held[i]);
        h2_mem_free(held[i].p);
    }
}

static void a_piece_that_was_used_is_zeroed(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 1100; n++) {
        uint8_t *p = h2_mem_alloc(n);
        memset(p, 0xff, n);
        h2_mem_free(p);
        p = h2_mem_zalloc(n);
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        h2_mem_free(p);
    }
}

static void nghttp2_may_ask_for_more(void **state)
{
    (void)state;
    char *p = h2_mem.malloc(10, NULL);
    memcpy(p, "123456789", 10);
    p = h2_mem.realloc(p, 5000, NULL);
    assert_string_equal(p, "123456789");
    h2_mem.free(p, NULL);
    h2_mem.free(NULL, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_never_overlap),
        cmocka_unit_test(a_piece_that_was_used_is_zeroed),
        cmocka_unit_test(nghttp2_may_ask_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
