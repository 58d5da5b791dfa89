/* Counted configuration and a worker's uses of it. */
#include "sidecar/base/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct piece {
    struct shared shared;
    int *freed;
};

static void piece_free(struct shared *self)
{
    struct piece *p = CONTAINER_OF(self, struct piece, shared);
    (*p->freed)++;
    free(p);
}

static struct shared *piece_new(int *freed)
{
    struct piece *p = NEW(struct piece);
    p->freed = freed;
    shared_init(&p->shared, piece_free);
    return &p->shared;
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    int freed = 0;
    struct shared *s = piece_new(&freed);
    assert_ptr_equal(shared_ref(s), s);
    shared_unref(s);
    assert_int_equal(freed, 0);
    shared_unref(s);
    assert_int_equal(freed, 1);
}

static void a_retired_holder_lives_until_its_last_use_ends(void **state)
{
    (void)state;
    int freed = 0;
    struct holder *h = holder_new(piece_new(&freed));
    struct holder *exchange = holder_use(h);
    struct holder *connection = holder_use(h);
    holder_release(&exchange);
    assert_null(exchange);
    holder_retire(&h);
    assert_null(h);
    assert_int_equal(freed, 0);
    struct holder *late = holder_use(connection);
    holder_release(&connection);
    assert_int_equal(freed, 0);
    holder_release(&late);
    assert_int_equal(freed, 1);
}

static void a_holder_without_uses_ends_when_retired(void **state)
{
    (void)state;
    int freed = 0;
    struct holder *h = holder_new(piece_new(&freed));
    struct holder *use = holder_use(h);
    holder_release(&use);
    assert_int_equal(freed, 0);
    holder_retire(&h);
    assert_int_equal(freed, 1);
    holder_retire(&h);
    holder_release(&h);
    assert_int_equal(freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(a_retired_holder_lives_until_its_last_use_ends),
        cmocka_unit_test(a_holder_without_uses_ends_when_retired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
