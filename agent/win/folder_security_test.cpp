// Wine keeps of owner and access list only what the host's permissions can say: there the calls are made, and
// what came of them is looked at on Windows only.
#include "agent/win/base/folder_security.h"

#include <aclapi.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/base/wine.h"
#include "agent/win/pipe_security.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::win {
namespace {

using support::must;

Handle open_folder(const std::string& path) {
  auto native = "\\??\\" + path;
  std::replace(native.begin(), native.end(), '/', '\\');
  OpenOptions wanted;
  wanted.access = READ_CONTROL | WRITE_DAC | WRITE_OWNER;
  wanted.options = 1;  // FILE_DIRECTORY_FILE
  return must(open_in(nullptr, must(wide_text(native)), wanted));
}

// Whether users are let in.
bool others_may(HANDLE folder) {
  PSECURITY_DESCRIPTOR found = nullptr;
  PACL list = nullptr;
  PSID owner = nullptr;
  REQUIRE(::GetSecurityInfo(folder, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                            &owner, nullptr, &list, nullptr, &found) == ERROR_SUCCESS);
  REQUIRE(list != nullptr);
  bool others = false;
  for (DWORD index = 0; index < list->AceCount; ++index) {
    void* entry = nullptr;
    REQUIRE(::GetAce(list, index, &entry) != 0);
    if (static_cast<ACE_HEADER*>(entry)->AceType != ACCESS_ALLOWED_ACE_TYPE) continue;
    auto* who = &static_cast<ACCESS_ALLOWED_ACE*>(entry)->SidStart;
    if (::IsWellKnownSid(who, WinWorldSid) != 0 || ::IsWellKnownSid(who, WinBuiltinUsersSid) != 0 ||
        ::IsWellKnownSid(who, WinAuthenticatedUserSid) != 0)
      others = true;
  }
  ::LocalFree(found);
  return others;
}

TEST_CASE("a folder of the agent's is closed to users, however it was made") {
  enable_privileges();
  const support::TemporaryDirectory directory;
  const auto folder = open_folder(directory.path());
  const auto open_to_all = "O:SYG:SYD:(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;WD)";
  must(protect_folder(folder.get(), open_to_all, "the folder"));
  REQUIRE(others_may(folder.get()));
  must(protect_folder(folder.get(), agent::kFolderSddl, "the folder"));
  must(protect_folder(folder.get(), agent::kFolderSddl, "the folder"));  // again changes nothing
  if (under_wine()) {
    MESSAGE("skipped under Wine: owner, access list, protection and inheritance, which it does not keep");
    return;
  }
  CHECK_FALSE(others_may(folder.get()));
  PSECURITY_DESCRIPTOR found = nullptr;
  PSID owner = nullptr;
  REQUIRE(::GetSecurityInfo(folder.get(), SE_FILE_OBJECT,
                            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, nullptr, nullptr,
                            nullptr, &found) == ERROR_SUCCESS);
  SECURITY_DESCRIPTOR_CONTROL control = 0;
  DWORD revision = 0;
  CHECK(::IsWellKnownSid(owner, WinLocalSystemSid) != 0);
  CHECK(::GetSecurityDescriptorControl(found, &control, &revision) != 0);
  CHECK((control & SE_DACL_PROTECTED) != 0);
  ::LocalFree(found);
}

TEST_CASE("a text that is no security descriptor is refused, and nothing is changed") {
  const support::TemporaryDirectory directory;
  const auto folder = open_folder(directory.path());
  CHECK_FALSE(protect_folder(folder.get(), "D:P(nonsense)", "the folder"));
  CHECK(protect_folder(folder.get(), "D:P(A;;FA;;;SY)", "the folder").error().code == ErrorCode::internal);
}

}  // namespace
}  // namespace roamstead::win
