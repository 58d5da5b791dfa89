/* The two orders in which objects are walked. */
#include "control/model/object.h"

int object_compare_age(const struct object *a, const struct object *b)
{
    /* An object without a time is as old as the mesh: files come before what was applied to a cluster. */
    if (a->created_us != b->created_us)
        return a->created_us < b->created_us ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return object_compare_id(a, b);
}

int object_compare_id(const struct object *a, const struct object *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    int by_ns = str_cmp(a->ns, b->ns);
    return by_ns != 0 ? by_ns : str_cmp(a->name, b->name);
}
