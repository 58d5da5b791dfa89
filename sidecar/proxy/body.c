/* Owns the kept bytes of one request body. On the worker's loop. */
#include "sidecar/proxy/body.h"

#include "sidecar/base/die.h"

void body_init(struct body *b, size_t limit, bool keep)
{
    *b = (struct body){.limit = limit, .keep_limit = limit, .keep = keep};
}

void body_fini(struct body *b)
{
    buf_fini(&b->data);
}

bool body_add(struct body *b, const void *data, size_t n, bool sent)
{
    if (sent && (!b->keep || b->dropped)) {
        b->dropped = b->dropped || n > 0;
        return true;
    }
    buf_append(&b->data, data, n);
    return buf_len(&b->data) <= b->limit;
}

bool body_is_too_long(const struct body *b)
{
    return b->keep && buf_len(&b->data) > b->keep_limit;
}

void body_drop(struct body *b)
{
    b->keep = false;
    b->dropped = b->dropped || buf_len(&b->data) > 0;
    buf_fini(&b->data);
}
