/* Events through filters that pass, hold and answer. */
#include "tests/unit/filter/filter_support.h"

/* What a test filter does with each event: its script's next letter: c, p, r. */
struct script {
    const char *verdicts;
    unsigned at, ends;
    struct bench *bench;
    const char *name;
    struct filter *filter;
};

static enum filter_verdict next(struct filter *f, const char *event)
{
    struct script *s = f->cfg->config;
    s->filter = f;
    note(s->bench, "%s %s;", s->name, event);
    char verdict = s->verdicts[s->at] ? s->verdicts[s->at++] : 'c';
    if (verdict == 'r') {
        filter_reply_of(f)->status = 403;
        filter_reply_of(f)->details = STR("no");
    }
    return verdict == 'p' ? FILTER_PAUSE : verdict == 'r' ? FILTER_REPLY : FILTER_CONTINUE;
}

static enum filter_verdict on_request_headers(struct filter *f, struct http_request *request,
                                              bool end)
{
    (void)request;
    (void)end;
    return next(f, "rq");
}
static enum filter_verdict on_request_data(struct filter *f, const uint8_t *data, size_t n,
                                           bool end)
{
    (void)data;
    (void)n;
    (void)end;
    return next(f, "rq data");
}
static enum filter_verdict on_request_trailers(struct filter *f, struct headers *trailers)
{
    (void)trailers;
    return next(f, "rq trailers");
}
static enum filter_verdict on_response_headers(struct filter *f, struct http_response *response,
                                               bool end)
{
    (void)response;
    (void)end;
    return next(f, "rs");
}
static enum filter_verdict on_response_data(struct filter *f, const uint8_t *data, size_t n,
                                            bool end)
{
    (void)data;
    (void)n;
    (void)end;
    return next(f, "rs data");
}
static enum filter_verdict on_response_trailers(struct filter *f, struct headers *trailers)
{
    (void)trailers;
    return next(f, "rs trailers");
}
static void on_end(struct filter *f)
{
    ((struct script *)f->cfg->config)->ends++;
}

static const struct filter_vtable scripted = {
    .name = "scripted",
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_end = on_end,
};
static const struct filter_vtable without_hooks = {.name = "without hooks"};

static struct script *add(struct bench *b, const char *name, const char *verdicts)
{
    struct script *s = ARENA_NEW(b->arena, struct script);
    *s = (struct script){.verdicts = verdicts, .bench = b, .name = name};
    bench_add(b, &scripted, s);
    return s;
}

static void requests_run_forward_and_responses_back(void **state)
{
    struct bench *b = *state;
    struct http_response response = {.status = 200};
    struct headers trailers = {0};
    struct script *x = add(b, "x", "");
    bench_add(b, &without_hooks, NULL);
    add(b, "y", "");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, false);
    filter_run_request_trailers(&b->run, &trailers);
    filter_run_response_headers(&b->run, &response, false);
    filter_run_response_data(&b->run, (const uint8_t *)"cd", 2, false);
    filter_run_response_trailers(&b->run, &trailers);
    assert_string_equal(b->log, "x rq;y rq;request GET;x rq data;y rq data;request data ab;"
                                "x rq trailers;y rq trailers;request trailers 0;"
                                "y rs;x rs;response 200;y rs data;x rs data;response data cd;"
                                "y rs trailers;x rs trailers;response trailers 0;");
    filter_run_end(&b->run);
    filter_run_end(&b->run);
    assert_int_equal(x->ends, 1);
}

static void without_filters_all_passes(void **state)
{
    struct bench *b = *state;
    b->list[0] = &b->router;
    b->hcm.filter_count = 1;
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "request GET end;");
}

static void a_held_request_goes_on_at_the_next_filter(void **state)
{
    struct bench *b = *state;
    struct script *x = add(b, "x", "p");
    struct script *y = add(b, "y", "cp");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    assert_true(filter_run_is_request_held(&b->run));
    filter_resume_request(x->filter);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, true);
    filter_resume_request(y->filter);
    assert_string_equal(b->log,
                        "x rq;request held;y rq;request GET;request goes on;"
                        "x rq data;y rq data;request held;request data ab end;request goes on;");
}

static void an_event_may_be_held_twice(void **state)
{
    struct bench *b = *state;
    struct script *x = add(b, "x", "cp");
    struct script *y = add(b, "y", "cp");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, false);
    filter_resume_request(x->filter);
    filter_resume_request(y->filter);
    assert_string_equal(b->log, "x rq;y rq;request GET;x rq data;request held;y rq data;"
                                "request data ab;request goes on;");
}

static void a_response_is_held_by_itself(void **state)
{
    struct bench *b = *state;
    struct http_response response = {.status = 200};
    struct script *x = add(b, "x", "cpc");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    filter_run_response_headers(&b->run, &response, true);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, true);
    filter_resume_response(x->filter);
    assert_string_equal(b->log, "x rq;request GET;x rs;response held;x rq data;request data ab end;"
                                "response 200 end;response goes on;");
}

static void a_reply_ends_the_request_direction(void **state)
{
    struct bench *b = *state;
    add(b, "x", "r");
    add(b, "y", "");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, true);
    struct http_response response = {.status = 403};
    filter_run_response_headers(&b->run, &response, true);
    assert_string_equal(b->log, "x rq;reply 403 no;y rs;x rs;response 403 end;");
    assert_int_equal(b->reply.grpc_status, -1);
}

static void a_held_request_may_be_answered_later(void **state)
{
    struct bench *b = *state;
    struct script *x = add(b, "x", "p");
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, false);
    filter_reply_of(x->filter)->status = 429;
    filter_send_reply(x->filter);
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, true);
    assert_string_equal(b->log, "x rq;request held;request goes on;reply 429 ;");
}

static void an_ended_run_passes_nothing(void **state)
{
    struct bench *b = *state;
    struct script *x = add(b, "x", "p");
    bench_begin(b);
    b->end_on_request_headers = true;
    filter_run_request_headers(&b->run, &b->request, false);
    filter_resume_request(x->filter); /* ends the run in the midst of it */
    filter_run_request_data(&b->run, (const uint8_t *)"ab", 2, true);
    assert_string_equal(b->log, "x rq;request held;request GET;");
    assert_int_equal(x->ends, 1);
}

static void a_disabled_filter_works_where_a_route_overrides_it(void **state)
{
    struct bench *b = *state;
    struct script *x = add(b, "x", "");
    b->instances[0].disabled = true;
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "request GET end;");
    filter_run_end(&b->run);

    void *of_route[] = {x}, *of_vhost[] = {b};
    b->route.filter_configs = of_route;
    b->vhost.filter_configs = of_vhost;
    b->log[0] = '\0';
    b->run = (struct filter_run){0};
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "x rq;request GET end;");
    assert_int_equal(x->filter->override_count, 2);
    assert_ptr_equal(x->filter->overrides[0], x);
    assert_ptr_equal(x->filter->overrides[1], b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_run_forward_and_responses_back),
        TEST(without_filters_all_passes),
        TEST(a_held_request_goes_on_at_the_next_filter),
        TEST(an_event_may_be_held_twice),
        TEST(a_response_is_held_by_itself),
        TEST(a_reply_ends_the_request_direction),
        TEST(a_held_request_may_be_answered_later),
        TEST(an_ended_run_passes_nothing),
        TEST(a_disabled_filter_works_where_a_route_overrides_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
