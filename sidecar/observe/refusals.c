/* A short list, searched from its front: a mesh in trouble has few kinds of it. On the owner's thread. Invariant: no two entries agree
 * in all but the count. */
#include "sidecar/observe/refusals.h"

#include "sidecar/base/die.h"
#include "sidecar/observe/stream_info.h"

#include <stdlib.h>
#include <string.h>

static void copy(char *to, size_t cap, struct str s)
{
    size_t n = s.n < cap - 1 ? s.n : cap - 1;
    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

static void write_flags(const struct stream_info *info, char *to)
{
    size_t at = 0;
    unsigned count = (unsigned)__builtin_popcountll(info->flags);
    for (unsigned i = 0; i < count; i++) {
        const char *flag = response_flag_short(info->flag_order[i]);
        size_t n = strlen(flag);
        if (at + n + 2 > REFUSAL_FLAGS_MAX)
            break;
        if (at > 0)
            to[at++] = ',';
        memcpy(to + at, flag, n);
        at += n;
    }
    to[at] = '\0';
}

static bool is_same_kind(const struct refusal *a, const struct refusal *b)
{
    return a->status == b->status && strcmp(a->details, b->details) == 0 && strcmp(a->cluster, b->cluster) == 0 &&
           strcmp(a->flags, b->flags) == 0;
}

void refusals_add(struct refusals *r, const struct refusal *one)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (!is_same_kind(&r->v[i], one))
            continue;
        r->v[i].count += one->count;
        return;
    }
    if (r->count == REFUSALS_MAX) {
        r->lost += one->count;
        return;
    }
    if ((r->count & (r->count - 1)) == 0)
        r->v = xrealloc(r->v, (r->count > 0 ? r->count * 2 : 1) * sizeof(*r->v));
    r->v[r->count++] = *one;
}

void refusals_note(struct refusals *r, const struct stream_info *info, struct str cluster, struct str details)
{
    struct refusal one = {.status = info->response_code, .count = 1};
    copy(one.cluster, sizeof(one.cluster), cluster);
    copy(one.details, sizeof(one.details), details);
    write_flags(info, one.flags);
    refusals_add(r, &one);
}

void refusals_move(struct refusals *from, struct refusals *to)
{
    assert(!to->v && to->count == 0);
    *to = *from;
    *from = (struct refusals){0};
}

bool refusals_is_empty(const struct refusals *r)
{
    return r->count == 0 && r->lost == 0;
}

void refusals_fini(struct refusals *r)
{
    free(r->v);
    *r = (struct refusals){0};
}
