// What holds on every system, and programs of this one.
#include "common/os/program.h"

#include <doctest/doctest.h>

#include "common/os/file.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;

TEST_CASE("arguments become a command line that Windows takes apart again") {
  CHECK(os::windows_command_line({"a", "b c", ""}) == R"(a "b c" "")");
  CHECK(os::windows_command_line({R"(C:\a b\)", R"(x\y)"}) == R"("C:\a b\\" x\y)");
  CHECK(os::windows_command_line({R"(say "no")"}) == R"("say \"no\"")");
  CHECK(os::windows_command_line({R"(\\"\)"}) == R"("\\\\\"\\")");
}

TEST_CASE("a failure shows what the program wrote in one bounded line") {
  CHECK(os::describe_failure("x", {3, "out", " no\n such\tdisk\n"}) == "x ended with status 3: no such disk");
  CHECK(os::describe_failure("x", {3, "out", ""}) == "x ended with status 3: out");
  CHECK(os::describe_failure("x", {3, "", ""}) == "x ended with status 3");
  CHECK(os::describe_failure("x", {3, "", std::string(100'000, 'a')}).size() < 2100);
}

TEST_CASE("a program that is not there, and none at all") {
  CHECK(os::run_program({"/roamstead/no/such/program"}, {}).error().code == ErrorCode::unavailable);
  CHECK(os::run_program({}, {}).error().code == ErrorCode::invalid_argument);
}
