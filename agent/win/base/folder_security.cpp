#include "agent/win/base/folder_security.h"

#include <aclapi.h>
#include <sddl.h>

#include <cstring>
#include <memory>

#include "agent/win/base/windows_error.h"

namespace roamstead::win {
namespace {

struct FreeLocal {
  void operator()(void* memory) const { ::LocalFree(memory); }
};
using Descriptor = std::unique_ptr<void, FreeLocal>;

struct Parts {
  PSID owner = nullptr, group = nullptr;
  PACL list = nullptr;
  bool is_protected = false;
};

bool parts_of(PSECURITY_DESCRIPTOR descriptor, Parts& parts) {
  BOOL there = FALSE, by_default = FALSE;
  SECURITY_DESCRIPTOR_CONTROL control = 0;
  DWORD revision = 0;
  if (::GetSecurityDescriptorOwner(descriptor, &parts.owner, &by_default) == 0 ||
      ::GetSecurityDescriptorGroup(descriptor, &parts.group, &by_default) == 0 ||
      ::GetSecurityDescriptorDacl(descriptor, &there, &parts.list, &by_default) == 0 ||
      ::GetSecurityDescriptorControl(descriptor, &control, &revision) == 0)
    return false;
  parts.is_protected = (control & SE_DACL_PROTECTED) != 0;
  return parts.owner != nullptr && there != FALSE && parts.list != nullptr;
}

// Entry by entry: a list may have room to spare.
bool same_list(PACL left, PACL right) {
  if (left->AceCount != right->AceCount) return false;
  for (DWORD index = 0; index < left->AceCount; ++index) {
    void *one = nullptr, *other = nullptr;
    if (::GetAce(left, index, &one) == 0 || ::GetAce(right, index, &other) == 0) return false;
    const auto bytes = static_cast<ACE_HEADER*>(one)->AceSize;
    if (bytes != static_cast<ACE_HEADER*>(other)->AceSize || std::memcmp(one, other, bytes) != 0)
      return false;
  }
  return true;
}

bool is_so(HANDLE folder, const Parts& wanted) {
  PSECURITY_DESCRIPTOR found = nullptr;
  if (::GetSecurityInfo(folder, SE_FILE_OBJECT,
                        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                        nullptr, nullptr, nullptr, nullptr, &found) != ERROR_SUCCESS)
    return false;
  const Descriptor owned(found);
  Parts present;
  return parts_of(found, present) && present.is_protected && ::EqualSid(present.owner, wanted.owner) != 0 &&
         same_list(present.list, wanted.list);
}

}  // namespace

Result<void> protect_folder(HANDLE folder, const std::string& sddl, const std::string& what) {
  RS_TRY(const auto text, wide_text(sddl));
  PSECURITY_DESCRIPTOR made = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(text.c_str(), SDDL_REVISION_1, &made, nullptr) ==
      0)
    return windows_error("the security descriptor '" + sddl + "'");
  const Descriptor owned(made);
  Parts wanted;
  if (!parts_of(made, wanted))
    return fail(ErrorCode::internal, "the security descriptor '" + sddl + "' says no owner or access list");
  if (is_so(folder, wanted)) return {};
  // Not NtSetSecurityObject, which leaves what is in the folder as it was.
  const auto code = ::SetSecurityInfo(folder, SE_FILE_OBJECT,
                                      OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION |
                                          DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                                      wanted.owner, wanted.group, wanted.list, nullptr);
  if (code != ERROR_SUCCESS) return windows_error("set owner and access of " + what, code);
  return {};
}

}  // namespace roamstead::win
