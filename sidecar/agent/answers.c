/* Owns answers of the administration endpoint until they are sent. Main thread. At most ANSWERS_MAX bodies at a time, each of
 * ANSWER_BYTES_MAX at most; pieces go while the connection takes them. */
#include "sidecar/agent/agent_priv.h"

#include "sidecar/base/die.h"

#include <stdlib.h>

#define TEXT_TYPE "text/plain; charset=UTF-8"

static void refuse(struct answer *answer, unsigned status)
{
    answer->status = status;
    answer->content_type = TEXT_TYPE;
    buf_clear(&answer->body);
}

static void ask(struct agent *a, struct answer *answer, struct str path)
{
    if (path.n == 0 || path.p[0] != '/') {
        refuse(answer, 400);
        buf_append_c(&answer->body, "a path begins with a slash\n");
        return;
    }
    answer->status = a->ops.admin_get(a->ctx, path, &answer->content_type, &answer->body);
    size_t n = buf_len(&answer->body);
    if (n <= ANSWER_BYTES_MAX)
        return;
    buf_fini(&answer->body);
    refuse(answer, 413);
    buf_printf(&answer->body, "the answer is %zu bytes, and at most %u are sent: ask for less of it, as by ?filter= or ?resource=\n", n,
               ANSWER_BYTES_MAX);
}

void answers_take(struct agent *a, const AGENT(Query) *query)
{
    struct answer *answer = NEW(struct answer);
    answer->id = query->id;
    list_init(&answer->link);
    if (a->answer_count < ANSWERS_MAX) {
        ask(a, answer, str_of(query->path));
    } else if (a->answer_count == ANSWERS_MAX) {
        refuse(answer, 429);
        buf_append_c(&answer->body, "too many questions at once\n");
    } else {
        free(answer); /* who asks on regardless gets no answer */
        return;
    }
    list_push_back(&a->answers, &answer->link);
    a->answer_count++;
}

static void answer_free(struct agent *a, struct answer *answer)
{
    list_remove(&answer->link);
    a->answer_count--;
    buf_fini(&answer->body);
    free(answer);
}

static void send_piece(struct agent *a, struct answer *answer)
{
    size_t left = buf_len(&answer->body), n = left < ANSWER_PIECE_BYTES ? left : ANSWER_PIECE_BYTES;
    struct arena *arena = arena_new(512);
    AGENT(Report) *report = (void *)codec_new(&outrigger__agent__v1__report__descriptor, arena);
    AGENT(Answer) *piece = (void *)codec_new(&outrigger__agent__v1__answer__descriptor, arena);
    piece->id = answer->id;
    piece->status = answer->status;
    if (answer->status > 0)
        piece->content_type = agent_text(arena, str_of(answer->content_type));
    piece->body = (ProtobufCBinaryData){n, buf_head(&answer->body)};
    piece->is_last = n == left;
    report->answer = piece;
    agent_send(a, report);
    arena_free(&arena);
    answer->status = 0;
    buf_consume(&answer->body, n);
    if (n == left)
        answer_free(a, answer);
}

void answers_pump(struct agent *a)
{
    while (a->call && a->answer_count > 0 && !grpc_is_above_high(a->call))
        send_piece(a, CONTAINER_OF(a->answers.next, struct answer, link));
}

void answers_fini(struct agent *a)
{
    while (a->answer_count > 0)
        answer_free(a, CONTAINER_OF(a->answers.next, struct answer, link));
}
