/* An intrusive doubly linked list. Header only; the owner of the head is its only user. */
#ifndef OUTRIGGER_BASE_LIST_H
#define OUTRIGGER_BASE_LIST_H

#include "sidecar/base/die.h"

/* Both a head and a node. A node that is on no list points to itself. */
struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

/* Whether a node that was initialised is on a list. */
static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    assert(!list_is_linked(node));
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_push_back(head->next, node);
}

/* Fine for a node that is on no list. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes the first node off, or NULL. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}

/* Walks nodes; the current one may be removed. */
#define LIST_FOREACH(head, node)                                                                   \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

#endif
