/* Levels, names, whole lines, and reopening under load. */
#include "sidecar/base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char path[] = "/tmp/outrigger-log-XXXXXX";

static char *file_text(void)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 16);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static void names_read_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        enum log_level level;
        assert_true(log_level_parse(str_of(log_level_name((enum log_level)i)), &level));
        assert_int_equal(level, i);
    }
    for (unsigned i = 0; i < LOG_COMPONENT_COUNT; i++) {
        enum log_component c;
        assert_true(log_component_parse(str_of(log_component_name((enum log_component)i)), &c));
        assert_int_equal(c, i);
    }
    enum log_level level;
    enum log_component component;
    assert_true(log_level_parse(STR("warn"), &level) && level == LOG_WARN);
    assert_false(log_level_parse(STR("loud"), &level));
    assert_false(log_component_parse(STR(""), &component));
}

static void only_lines_at_or_above_the_level_are_written(void **state)
{
    (void)state;
    assert_int_equal(log_open(path), 0);
    log_set_level(LOG_WARN);
    log_set_component_level(LOG_HTTP, LOG_DEBUG);
    assert_int_equal(log_get_component_level(LOG_HTTP), LOG_DEBUG);
    assert_int_equal(log_get_component_level(LOG_XDS), LOG_WARN);
    log_info(LOG_XDS, "unseen");
    log_error(LOG_XDS, "number %d", 7);
    log_debug(LOG_HTTP, "detail");
    log_trace(LOG_HTTP, "unseen");
    log_set_level(LOG_OFF);
    log_line(LOG_HTTP, LOG_INFO, "the macro asks, not the function");
    log_error(LOG_HTTP, "unseen");
    char *text = file_text();
    assert_null(strstr(text, "unseen"));
    assert_non_null(strstr(text, "Z error xds ["));
    assert_non_null(strstr(text, "] number 7\n"));
    assert_non_null(strstr(text, "] detail\n"));
    free(text);
    log_set_level(LOG_INFO);
}

static void a_peers_bytes_cannot_forge_a_line(void **state)
{
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    log_error(LOG_HTTP, "%s", "a\nb\r\x1b[31m\x7f");
    char *text = file_text();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_non_null(strstr(text, "a b  [31m \n"));
    free(text);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    static char longer[10000];
    memset(longer, 'x', sizeof(longer) - 1);
    assert_int_equal(truncate(path, 0), 0);
    log_error(LOG_HTTP, "%s", longer);
    log_error(LOG_HTTP, "next");
    char *text = file_text();
    assert_int_equal(strchr(text, '\n') - text, 4094);
    assert_non_null(strstr(text, "] next\n"));
    free(text);
}

static void a_path_that_cannot_be_opened_is_an_error(void **state)
{
    (void)state;
    assert_true(log_open("/nonexistent/log") < 0);
}

static int lowest_free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

/* While the log is reopened, its descriptor's number must never be free for others to get: a line that
 * another thread writes just then would land in somebody else's file or connection. */
static void reopening_keeps_the_descriptor(void **state)
{
    (void)state;
    assert_int_equal(log_open(path), 0);
    int before = lowest_free_descriptor();
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(log_open(path), 0);
    assert_int_equal(lowest_free_descriptor(), before);
    log_error(LOG_MAIN, "after");
    char *text = file_text();
    assert_non_null(strstr(text, "] after\n"));
    free(text);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_read_back),
        cmocka_unit_test(only_lines_at_or_above_the_level_are_written),
        cmocka_unit_test(a_peers_bytes_cannot_forge_a_line),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(a_path_that_cannot_be_opened_is_an_error),
        cmocka_unit_test(reopening_keeps_the_descriptor),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
