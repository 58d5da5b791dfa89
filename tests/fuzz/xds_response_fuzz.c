/* Responses of a control plane, one after the other, in either protocol: an ADS client that never connects takes them as they
 * come. Input: the mode (1 byte), then messages, each behind its length (2 bytes, little endian). */
#include "tests/fuzz/xds_session.h"

#include "proto/codec.h"

/* Field 2 of a resource: what it needs, a list with plus signs; the sink refuses one that begins with "!". */
static bool put(void *ctx, const struct xds_resource *r, struct xds_needs *needs, struct err *err)
{
    struct str text = codec_peek_string(2, r->value.p, r->value.n), name;
    (void)ctx;
    assert(r->name.n > 0);
    if (text.n > 0 && text.p[0] == '!')
        return err_set(err, "%.*s", STR_FMT(text));
    while (xds_is_root(r->type) && str_next(&text, '+', &name))
        xds_needs_add(needs, name, 0, r->name);
    return true;
}

static void activate(void *ctx, enum xds_type type, struct str name)
{
    struct xds **x = ctx;
    assert(xds_is_root(type));
    assert(!*x || resources_find(*x, type, name));
}

static const struct xds_sink sink = {.put = put, .activate = activate, .remove = sink_nothing};

/* What must hold between any two responses. */
static void check(const struct xds *x)
{
    size_t count = 0;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        size_t warming = 0, i = 0;
        struct str name;
        while (xds_next_warming(x, t, &i, &name))
            warming++;
        assert(warming == x->kinds[t].warming);
        assert(list_is_empty(&x->kinds[t].ready));
        count += x->kinds[t].resources.count;
    }
    assert(count == x->resource_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct loop *loop = loop_new();
    const struct xds_options options = {
        .mode = n > 0 && data[0] % 2 ? XDS_SOTW : XDS_DELTA, .clusters = true, .listeners = true, .address = no_address};
    struct xds *x = NULL;
    x = xds_start(loop, &options, STR_NONE, STR("n"), &sink, &x);
    for (size_t at = 1; at + 2 <= n;) {
        size_t size = data[at] | (size_t)data[at + 1] << 8;
        at += 2;
        size = size < n - at ? size : n - at;
        for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
            x->kinds[t].asked = true;
        response_take(x, str_n((const char *)data + at, size));
        check(x);
        at += size;
    }
    struct buf file = {0};
    last_good_pack(x, &file);
    xds_stop(&x);
    struct err err = {0};
    x = xds_start(loop, &options, STR_NONE, STR("n"), &sink, &x);
    bool good = last_good_unpack(x, buf_str(&file), &err);
    assert(good);
    check(x);
    buf_fini(&file);
    xds_stop(&x);
    loop_free(&loop);
    return 0;
}
