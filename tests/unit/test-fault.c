/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common/fault.h: the code, the errno and the sentence of a refusal. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "common/fault.h"

/** A fault with something behind it that must stay. */
struct guarded {
    struct fault fault;
    unsigned char guard[16];
};

static void assert_guarded(const struct guarded *guarded)
{
    for (size_t i = 0; i < sizeof(guarded->guard); i++)
        assert_int_equal(guarded->guard[i], 0xa5);
}

static struct guarded fresh(void)
{
    struct guarded guarded;

    memset(&guarded, 0xa5, sizeof(guarded));
    return guarded;
}

static void set_fills_all(void **state)
{
    struct guarded g = fresh();

    (void)state;
    assert_int_equal(fault_set(&g.fault, DMABUFD_CODE_LIMIT, EMFILE, "%u of %s", 3U, "five"),
                     -EMFILE);
    assert_int_equal(g.fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(g.fault.error, EMFILE);
    assert_string_equal(g.fault.text, "3 of five");
    assert_guarded(&g);
}

static void set_replaces(void **state)
{
    struct guarded g = fresh();

    (void)state;
    fault_set(&g.fault, DMABUFD_CODE_LIMIT, EMFILE, "a long first sentence");
    assert_int_equal(fault_set(&g.fault, DMABUFD_CODE_BACKEND, EIO, "short"), -EIO);
    assert_int_equal(g.fault.code, DMABUFD_CODE_BACKEND);
    assert_int_equal(g.fault.error, EIO);
    assert_string_equal(g.fault.text, "short");
}

static void nobody_asks_why(void **state)
{
    (void)state;
    assert_int_equal(fault_set(NULL, DMABUFD_CODE_LIMIT, ENOMEM, "%d", 1), -ENOMEM);
    fault_prefix(NULL, "%d", 1);
}

static void set_truncates(void **state)
{
    struct guarded g = fresh();
    char text[2 * FAULT_TEXT_MAX];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(fault_set(&g.fault, DMABUFD_CODE_INVALID, EINVAL, "%s", text), -EINVAL);
    assert_int_equal(strlen(g.fault.text), FAULT_TEXT_MAX - 1);
    assert_memory_equal(g.fault.text, text, FAULT_TEXT_MAX - 1);
    assert_int_equal(g.fault.code, DMABUFD_CODE_INVALID);
    assert_guarded(&g);
    /* Exactly as long as there is room. */
    text[FAULT_TEXT_MAX - 1] = '\0';
    fault_set(&g.fault, DMABUFD_CODE_INVALID, EINVAL, "%s", text);
    assert_string_equal(g.fault.text, text);
}

static void prefix_goes_before(void **state)
{
    struct guarded g = fresh();

    (void)state;
    fault_set(&g.fault, DMABUFD_CODE_BACKEND, EPERM, "not allowed");
    fault_prefix(&g.fault, "backend %s", "iommufd");
    assert_string_equal(g.fault.text, "backend iommufd: not allowed");
    fault_prefix(&g.fault, "start");
    assert_string_equal(g.fault.text, "start: backend iommufd: not allowed");
    /* Why it was refused stays. */
    assert_int_equal(g.fault.code, DMABUFD_CODE_BACKEND);
    assert_int_equal(g.fault.error, EPERM);
    assert_guarded(&g);
}

static void prefix_of_its_own_text(void **state)
{
    struct guarded g = fresh();

    (void)state;
    fault_set(&g.fault, DMABUFD_CODE_BACKEND, EPERM, "again");
    fault_prefix(&g.fault, "%s", g.fault.text);
    assert_string_equal(g.fault.text, "again: again");
}

static void prefix_truncates(void **state)
{
    struct guarded g = fresh();
    char text[FAULT_TEXT_MAX];

    (void)state;
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fault_set(&g.fault, DMABUFD_CODE_BACKEND, EPERM, "%s", text);
    fault_prefix(&g.fault, "p");
    assert_int_equal(strlen(g.fault.text), FAULT_TEXT_MAX - 1);
    assert_memory_equal(g.fault.text, "p: yyy", 6);
    assert_int_equal(g.fault.text[FAULT_TEXT_MAX - 2], 'y');
    assert_guarded(&g);
    /* A prefix that fills it alone. */
    fault_set(&g.fault, DMABUFD_CODE_BACKEND, EPERM, "lost");
    fault_prefix(&g.fault, "%s%s", text, text);
    assert_string_equal(g.fault.text, text);
    assert_guarded(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_all),      cmocka_unit_test(set_replaces),
        cmocka_unit_test(nobody_asks_why),    cmocka_unit_test(set_truncates),
        cmocka_unit_test(prefix_goes_before), cmocka_unit_test(prefix_of_its_own_text),
        cmocka_unit_test(prefix_truncates),
    };

    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
