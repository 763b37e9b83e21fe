// A secret of the LSA as edits: the key below Policy\Secrets that holds it.
#pragma once

#include <string_view>
#include <vector>

#include "coordinator/compose/edit.h"
#include "coordinator/join/lsa.h"

namespace roamstead::join {

// LSA notes what an object is in the type of its key's default value; of no length.
inline constexpr std::uint32_t kLsaSecretObject = 4;
// Self-relative: owner Administrators, group SYSTEM, Administrators may do all that is done with a secret,
// everyone may read this descriptor. The same for every secret of every real hive seen.
Bytes lsa_secret_descriptor();

// Object, descriptor, present and former value with their times, for `Policy\Secrets\NAME`: as Windows has
// it after a secret was stored for the first time. Values are marked secret.
Result<std::vector<compose::RegistryEdit>> lsa_secret_edits(const LsaKeys& keys, std::string_view name,
                                                            ByteView clear, std::uint64_t now_100ns);

}  // namespace roamstead::join
