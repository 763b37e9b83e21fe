// Local groups ("aliases") in a SAM hive: who is a member, and adding members. A member is listed twice: in
// the alias itself and, the other way round, below Aliases\Members. Layouts: chntpw's and winreg-kb's
// documents and real hives, in docs/domain-join.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/registry/hive.h"
#include "coordinator/compose/edit.h"
#include "coordinator/join/sid.h"

namespace roamstead::join {

inline constexpr std::uint32_t kAdministratorsAlias = 544, kUsersAlias = 545;
inline constexpr std::uint32_t kDomainAdminsRid = 512, kDomainUsersRid = 513;

// Of one of the builtin aliases. ErrorCode::not_found when the hive has no such alias.
Result<std::vector<Sid>> alias_members(const registry::Hive& sam, std::uint32_t alias);

struct AliasMember {
  std::uint32_t alias = 0;
  Sid member;  // a domain's SID and a RID
};

// The edits that make these members; those that are already cost nothing.
Result<std::vector<compose::RegistryEdit>> alias_member_edits(const registry::Hive& sam,
                                                              std::span<const AliasMember> additions);

}  // namespace roamstead::join
