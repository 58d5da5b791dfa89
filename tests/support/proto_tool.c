/* The codec behind a pipe, for tests in Python. A request is "OP TYPE LENGTH\n" and LENGTH bytes,
 * an answer is "ok LENGTH\n" or "no LENGTH\n" and as many bytes. OP: to_json   wire in, JSON out
 * to_wire  wire in, packed again from_text YAML or JSON in, wire out    from_go_text  the same with
 * Go's durations from_open_text  the same in open mode  unknown  wire in, "PATH#NUMBER" lines out
 * TYPE is a full name. A "no" carries the findings or the error. */
#include "proto/codec.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
    char op[32], type[200];
    const ProtobufCMessageDescriptor *d;
    uint8_t *data;
    size_t n;
};

static ProtobufCMessage *from_text(const struct request *q,
                                   const struct codec_text_options *options, struct arena *arena,
                                   struct buf *out)
{
    struct findings findings;
    struct node **docs;
    ProtobufCMessage *m = NULL;
    findings_init(&findings, arena);
    unsigned count =
        node_parse(str_n((const char *)q->data, q->n), "stdin", arena, &findings, &docs);
    if (count == 1)
        m = codec_from_node(q->d, docs[0], "", options, arena, &findings);
    else
        buf_printf(out, "%u documents\n", count);
    findings_print_all(&findings, out);
    if (m)
        buf_clear(out);
    return m;
}

static void on_unknown(void *ctx, const char *path, uint32_t number)
{
    buf_printf(ctx, "%s#%u\n", path, number);
}

static bool answer(const struct request *q, struct arena *arena, struct buf *out)
{
    struct codec_text_options options = {.mode = strstr(q->op, "open") ? CODEC_OPEN : CODEC_STRICT,
                                         .durations = strstr(q->op, "go") ? DURATIONS_GO
                                                                          : DURATIONS_PROTOBUF};
    struct err err = {0};
    bool text = strncmp(q->op, "from", 4) == 0;
    ProtobufCMessage *m =
        text ? from_text(q, &options, arena, out) : codec_unpack(q->d, q->data, q->n, arena, &err);
    if (err.set)
        buf_append_c(out, err.text);
    if (!m)
        return false;
    if (text || strcmp(q->op, "to_wire") == 0)
        codec_pack(m, out);
    else if (strcmp(q->op, "to_json") == 0)
        codec_to_json(m, 0, out);
    else if (strcmp(q->op, "unknown") == 0)
        codec_unknown_fields(m, on_unknown, out);
    else
        die("unknown operation %s", q->op);
    return true;
}

int main(void)
{
    struct request q;
    char line[300];
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%31s %199s %zu", q.op, q.type, &q.n) != 3)
            die("bad request: %s", line);
        q.d = codec_find_type(str_of(q.type));
        if (!q.d)
            die("unknown type %s", q.type);
        q.data = xmalloc(q.n + 1);
        if (fread(q.data, 1, q.n, stdin) != q.n)
            die("the input ends early");
        struct arena *arena = arena_new(4096);
        struct buf out = {0};
        bool good = answer(&q, arena, &out);
        printf("%s %zu\n", good ? "ok" : "no", buf_len(&out));
        fwrite(buf_head(&out), 1, buf_len(&out), stdout);
        fflush(stdout);
        buf_fini(&out);
        arena_free(&arena);
        free(q.data);
    }
    return 0;
}
