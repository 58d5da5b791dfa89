/* Any Reports of a sidecar, one behind the other, leave what is kept of it within its bounds and its sums right. Input: messages,
 * each behind two bytes of length. */
#include "control/agent/agents_priv.h"
#include "sidecar/base/die.h"

#define BUDGET_BYTES (8u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct seen *s)
{
    unsigned rows = 0;
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->clusters, &i, &name, &value);) {
        const struct seen_cluster *c = value;
        assert(str_eq(c->name, name) && name.n <= SEEN_NAME_MAX);
        rows += c->host_count > 0 ? c->host_count : 1;
        for (unsigned k = 0; k < c->host_count; k++)
            assert(c->hosts[k].address.n <= SEEN_TEXT_MAX && c->hosts[k].reason.n <= SEEN_TEXT_MAX);
    }
    assert(rows == s->rows);
}

static void write_all(const struct seen *s)
{
    struct buf out = {0};
    bool is_first = true;
    seen_write(s, STR("p.n"), NULL, &is_first, &out);
    struct str text = buf_str(&out);
    for (size_t i = 0; i < text.n; i++)
        assert((unsigned char)text.p[i] >= 0x20 || text.p[i] == '\n');
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen seen = {0};
    while (size >= 2) {
        size_t n = (size_t)data[0] << 8 | data[1];
        struct err err = {0};
        struct arena *arena = arena_new(1024);
        data += 2;
        size -= 2;
        n = n < size ? n : size;
        const AGENT(Report) *report =
            (const void *)codec_unpack_within(&outrigger__agent__v1__report__descriptor, data, n, BUDGET_BYTES, arena, &err);
        if (report)
            seen_apply(&seen, report, &err);
        arena_free(&arena);
        data += n;
        size -= n;
        check(&seen);
    }
    write_all(&seen);
    seen_fini(&seen);
    return 0;
}
