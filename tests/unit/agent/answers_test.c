#include "tests/unit/agent/agent_world.h"

static struct agent_world aw;

static int set_up(void **state)
{
    (void)state;
    agent_world_open(&aw);
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_OPEN && aw.reports >= 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    agent_world_close(&aw);
    return 0;
}

/* The pieces of one answer so far. */
struct whole {
    unsigned status, pieces;
    size_t bytes;
    bool is_over;
    char type[32], begin[64];
};

static struct whole answer_of(uint64_t id)
{
    struct whole w = {0};
    for (unsigned i = 0; i < aw.reports; i++) {
        const AGENT(Answer) *piece = aw.v[i]->answer;
        if (!piece || piece->id != id)
            continue;
        assert_false(w.is_over);
        if (w.pieces++ == 0) {
            w.status = piece->status;
            snprintf(w.type, sizeof(w.type), "%s", piece->content_type);
            snprintf(w.begin, sizeof(w.begin), "%.*s", (int)(piece->body.len < 60 ? piece->body.len : 60), (char *)piece->body.data);
        }
        w.bytes += piece->body.len;
        w.is_over = piece->is_last;
    }
    return w;
}

static void a_small_answer_is_one_piece(void **state)
{
    (void)state;
    aw.admin_bytes = 5;
    agent_world_order(&aw, 77, "/stats?filter=x");
    RUN_UNTIL(&aw.w, answer_of(77).is_over);
    struct whole w = answer_of(77);
    assert_string_equal(aw.admin_path, "/stats?filter=x");
    assert_int_equal(w.status, 200);
    assert_int_equal(w.pieces, 1);
    assert_string_equal(w.begin, "xxxxx");
    assert_string_equal(w.type, "text/plain");
    aw.admin_bytes = 0;
    agent_world_order(&aw, 78, "/empty");
    RUN_UNTIL(&aw.w, answer_of(78).is_over);
    assert_int_equal(answer_of(78).status, 200);
}

static void a_large_answer_comes_in_pieces_and_what_is_too_large_is_refused(void **state)
{
    (void)state;
    aw.admin_bytes = ANSWER_BYTES_MAX;
    agent_world_order(&aw, 1, "/config_dump");
    RUN_UNTIL(&aw.w, answer_of(1).is_over);
    assert_int_equal(answer_of(1).bytes, ANSWER_BYTES_MAX);
    assert_int_equal(answer_of(1).pieces, ANSWER_BYTES_MAX / ANSWER_PIECE_BYTES);
    aw.admin_bytes = ANSWER_BYTES_MAX + 1;
    agent_world_order(&aw, 2, "/config_dump");
    RUN_UNTIL(&aw.w, answer_of(2).is_over);
    assert_int_equal(answer_of(2).status, 413);
    assert_non_null(strstr(answer_of(2).begin, "the answer is 16777217 bytes"));
}

static void a_path_that_is_none_is_refused(void **state)
{
    (void)state;
    agent_world_order(&aw, 1, "stats");
    agent_world_order(&aw, 2, "");
    RUN_UNTIL(&aw.w, answer_of(1).is_over && answer_of(2).is_over);
    assert_int_equal(answer_of(1).status, 400);
    assert_int_equal(answer_of(2).status, 400);
    assert_string_equal(aw.admin_path, "");
}

/* As many as the sidecar holds at a time; what comes above is told so, and then not answered at all. */
static void questions_at_once_are_bounded(void **state)
{
    struct arena *arena = arena_new(256);
    AGENT(Query) *query = (void *)codec_new(&outrigger__agent__v1__query__descriptor, arena);
    (void)state;
    aw.admin_bytes = 1 << 20;
    query->path = agent_text(arena, STR("/stats"));
    for (unsigned i = 1; i <= ANSWERS_MAX + 5; i++) {
        query->id = i;
        answers_take(aw.agent, query);
    }
    assert_int_equal(aw.agent->answer_count, ANSWERS_MAX + 1);
    answers_pump(aw.agent);
    RUN_UNTIL(&aw.w, aw.agent->answer_count == 0);
    RUN_UNTIL(&aw.w, answer_of(ANSWERS_MAX + 1).is_over);
    assert_int_equal(answer_of(ANSWERS_MAX).status, 200);
    assert_int_equal(answer_of(ANSWERS_MAX + 1).status, 429);
    assert_int_equal(answer_of(ANSWERS_MAX + 2).pieces, 0);
    arena_free(&arena);
}

static void a_session_that_ends_takes_its_answers_with_it(void **state)
{
    struct arena *arena = arena_new(256);
    AGENT(Query) *query = (void *)codec_new(&outrigger__agent__v1__query__descriptor, arena);
    (void)state;
    aw.admin_bytes = 4 << 20;
    query->path = agent_text(arena, STR("/stats"));
    answers_take(aw.agent, query);
    answers_pump(aw.agent);
    assert_int_equal(aw.agent->answer_count, 1); /* the connection takes no more now */
    agent_world_disconnect(&aw);
    assert_int_equal(aw.agent->answer_count, 0);
    arena_free(&arena);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_small_answer_is_one_piece),
        CASE(a_large_answer_comes_in_pieces_and_what_is_too_large_is_refused),
        CASE(a_path_that_is_none_is_refused),
        CASE(questions_at_once_are_bounded),
        CASE(a_session_that_ends_takes_its_answers_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
