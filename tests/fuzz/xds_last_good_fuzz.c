/* The file of the last good configuration: as it is, and with its head and checksum put right, so that the content is
 * reached. */
#include "tests/fuzz/xds_session.h"

#include "sidecar/base/hash.h"

#include <string.h>

static bool put(void *ctx, const struct xds_resource *r, struct xds_needs *needs, struct err *err)
{
    (void)ctx;
    if (r->value.n > 0 && r->value.p[0] == '!')
        return err_set(err, "refused");
    if (xds_is_root(r->type))
        xds_needs_add(needs, r->value, 0, r->name);
    return true;
}

static const struct xds_sink sink = {.put = put, .activate = sink_nothing, .remove = sink_nothing};

static void load(struct str file)
{
    struct loop *loop = loop_new();
    const struct xds_options options = {.clusters = true, .listeners = true, .address = no_address};
    struct xds *x = xds_start(loop, &options, STR_NONE, STR("n"), &sink, NULL);
    struct err err = {0};
    bool good = last_good_unpack(x, file, &err);
    assert(good != err.set);
    assert(x->kinds[XDS_CLUSTER].warming == 0 && x->kinds[XDS_LISTENER].warming == 0);
    xds_stop(&x);
    loop_free(&loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf file = {0};
    load(str_n((const char *)data, n));
    buf_append(&file, "OGXDS\0\0\1", 8);
    uint64_t sum = n > 16 ? hash_xx64(data + 16, n - 16, 0) : 0;
    buf_append(&file, &sum, 8);
    if (n > 16)
        buf_append(&file, data + 16, n - 16);
    load(buf_str(&file));
    buf_fini(&file);
    return 0;
}
