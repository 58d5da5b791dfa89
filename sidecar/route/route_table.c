/* Owns a route table's memory and its domains. Built on main; read by all. */
#include "sidecar/route/route_index.h"

#include <stdlib.h>
#include <string.h>

static void free_table(struct shared *s)
{
    struct route_table *t = CONTAINER_OF(s, struct route_table, shared);
    struct arena *a = t->arena;
    for (unsigned i = 0; i < t->cleanup_count; i++)
        t->cleanups[i].fn(t->cleanups[i].arg);
    free(t->cleanups);
    for (unsigned i = 0; i < t->regex_count; i++)
        regex_free(&t->regexes[i]);
    free(t->regexes);
    free(t->suffixes);
    free(t->prefixes);
    table_fini(&t->exact);
    arena_free(&a);
}

struct route_table *route_table_new(struct str name)
{
    struct arena *a = arena_new(2048);
    struct route_table *t = ARENA_NEW(a, struct route_table);
    shared_init(&t->shared, free_table);
    t->arena = a;
    t->name = arena_str(a, name);
    return t;
}

static bool add_wildcard(struct wildcard_domain **list, unsigned *count, struct str text,
                         const struct virtual_host *vhost)
{
    for (unsigned i = 0; i < *count; i++)
        if (str_eq((*list)[i].text, text))
            return false;
    *list = xrealloc(*list, (*count + 1) * sizeof(**list));
    (*list)[(*count)++] = (struct wildcard_domain){text, vhost};
    return true;
}

bool route_table_add_domain(struct route_table *t, struct str domain, const struct virtual_host *vhost, struct err *err)
{
    struct str text = arena_str(t->arena, domain);
    bool added;
    if (text.n == 0)
        return err_set(err, "a domain must not be empty");
    ascii_lower_n((char *)(uintptr_t)text.p, text.n);
    if (text.n == 1 && text.p[0] == '*') {
        added = t->any == NULL;
        t->any = vhost;
    } else if (text.p[0] == '*') {
        added = add_wildcard(&t->suffixes, &t->suffix_count, str_sub(text, 1, SIZE_MAX), vhost);
    } else if (text.p[text.n - 1] == '*') {
        added = add_wildcard(&t->prefixes, &t->prefix_count, str_sub(text, 0, text.n - 1), vhost);
    } else {
        added = !table_get(&t->exact, text);
        /* Tables hold pointers to data that is not theirs to change; a virtual host is read through them only. */
        if (added)
            table_put(&t->exact, text, (void *)(uintptr_t)vhost);
    }
    return added || err_set(err, "only a single virtual host may have the domain \"%.*s\"", STR_FMT(text));
}

static int longest_first(const void *a, const void *b)
{
    const struct wildcard_domain *x = a, *y = b;
    return x->text.n > y->text.n ? -1 : x->text.n < y->text.n;
}

void route_table_seal(struct route_table *t)
{
    if (t->suffix_count > 0)
        qsort(t->suffixes, t->suffix_count, sizeof(*t->suffixes), longest_first);
    if (t->prefix_count > 0)
        qsort(t->prefixes, t->prefix_count, sizeof(*t->prefixes), longest_first);
    for (unsigned i = 0; i < t->vhost_count; i++)
        t->vhosts[i].index = route_index_new(&t->vhosts[i], t->arena);
}
