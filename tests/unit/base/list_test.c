/* The intrusive list. */
#include "sidecar/base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    int number;
    struct list node;
};

static void add(struct list *head, struct item *it, int number,
                void (*push)(struct list *, struct list *))
{
    it->number = number;
    list_init(&it->node);
    push(head, &it->node);
}

static void push_and_pop_keep_order(void **state)
{
    (void)state;
    struct list head;
    struct item v[3];
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_pop_front(&head));
    add(&head, &v[0], 2, list_push_back);
    add(&head, &v[1], 3, list_push_back);
    add(&head, &v[2], 1, list_push_front);
    for (int i = 1; i <= 3; i++) {
        struct list *node = list_pop_front(&head);
        assert_int_equal(CONTAINER_OF(node, struct item, node)->number, i);
        assert_false(list_is_linked(node));
    }
    assert_true(list_is_empty(&head));
}

static void a_node_may_be_removed_twice_and_from_the_middle(void **state)
{
    (void)state;
    struct list head;
    struct item v[3];
    list_init(&head);
    for (int i = 0; i < 3; i++)
        add(&head, &v[i], i, list_push_back);
    list_remove(&v[1].node);
    list_remove(&v[1].node);
    assert_true(list_is_linked(&v[0].node));
    assert_ptr_equal(head.next, &v[0].node);
    assert_ptr_equal(v[0].node.next, &v[2].node);
    list_push_front(&head, &v[1].node);
    assert_ptr_equal(head.next, &v[1].node);
}

static void a_walk_may_remove_the_current_node(void **state)
{
    (void)state;
    struct list head;
    struct item v[5];
    int seen = 0;
    list_init(&head);
    for (int i = 0; i < 5; i++)
        add(&head, &v[i], i, list_push_back);
    LIST_FOREACH(&head, node)
    {
        assert_int_equal(CONTAINER_OF(node, struct item, node)->number, seen);
        list_remove(node);
        seen++;
    }
    assert_int_equal(seen, 5);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(push_and_pop_keep_order),
        cmocka_unit_test(a_node_may_be_removed_twice_and_from_the_middle),
        cmocka_unit_test(a_walk_may_remove_the_current_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
