/* /logging: shows and changes the levels of the program's own log, in Envoy's words. All of a
 * request's changes are checked before any is made. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/log.h"

static void list_levels(struct buf *out)
{
    buf_append_c(out, "active loggers:\n");
    for (unsigned i = 0; i < LOG_COMPONENT_COUNT; i++)
        buf_printf(out, "  %s: %s\n", log_component_name((enum log_component)i),
                   log_level_name(log_get_component_level((enum log_component)i)));
}

static void refuse(struct admin_request *rq, const char *why)
{
    admin_refuse(rq, 400, "error: %s\n\n", why);
    buf_append_c(&rq->out,
                 "usage: /logging?<name>=<level> (change single level)\n"
                 "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
                 "usage: /logging?level=<level> (change all levels)\n"
                 "levels: ");
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++)
        buf_printf(&rq->out, "%s ", log_level_name((enum log_level)i));
    buf_append_byte(&rq->out, '\n');
    list_levels(&rq->out);
}

struct change {
    enum log_component component;
    enum log_level level;
};

/* NULL, or what is wrong with it. */
static const char *parse_change(struct str name, struct str level, struct change *change_r)
{
    if (name.n == 0 || level.n == 0)
        return "empty logger name or empty logger level";
    if (!log_level_parse(level, &change_r->level))
        return "unknown logger level";
    return log_component_parse(name, &change_r->component) ? NULL : "unknown logger name";
}

/* "name1:level1,name2:level2" */
static const char *change_paths(struct str paths)
{
    struct change changes[LOG_COMPONENT_COUNT];
    struct str rest = paths, pair;
    unsigned count = 0;
    while (str_next(&rest, ',', &pair)) {
        struct change change;
        ptrdiff_t colon = str_index(pair, ':', 0);
        struct str name = colon < 0 ? pair : str_sub(pair, 0, (size_t)colon);
        struct str level = colon < 0 ? STR("") : str_sub(pair, (size_t)colon + 1, SIZE_MAX);
        const char *why = parse_change(name, level, &change);
        if (why)
            return why;
        if (count == LOG_COMPONENT_COUNT)
            return "more names than there are loggers";
        changes[count++] = change;
    }
    for (unsigned i = 0; i < count; i++)
        log_set_component_level(changes[i].component, changes[i].level);
    return NULL;
}

static const char *change_all(struct str level)
{
    enum log_level parsed;
    if (level.n == 0)
        return NULL;
    if (!log_level_parse(level, &parsed))
        return "unknown logger level";
    log_set_level(parsed);
    return NULL;
}

static const char *change_one(struct str name, struct str level)
{
    struct change change;
    const char *why = parse_change(name, level, &change);
    if (!why)
        log_set_component_level(change.component, change.level);
    return why;
}

void admin_logging(struct admin_request *rq)
{
    struct str rest = admin_query_text(rq), pair, extra;
    const char *why = NULL;
    if (str_next(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        struct str name = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
        struct str value = admin_query(rq, arena_str(rq->arena, name).p);
        if (str_next(&rest, '&', &extra))
            why = "invalid number of parameters";
        else if (str_eq(name, STR("level")))
            why = change_all(value);
        else if (str_eq(name, STR("paths")))
            why = change_paths(value);
        else if (str_eq(name, STR("group")))
            why = "there are no groups of loggers; use paths";
        else
            why = change_one(name, value);
    }
    if (why)
        refuse(rq, why);
    else
        list_levels(&rq->out);
}
