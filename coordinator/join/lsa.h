// How a powered-off Windows keeps its secrets: the boot key, scattered over the SYSTEM hive, opens the LSA's
// key in the SECURITY hive, and that opens the secrets. Layouts: MS-LSAD 5.1.2 for the old ciphers; what
// impacket, mimikatz and winreg-kb publish and real hives show for the rest. docs/domain-join.md has them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/guid.h"
#include "common/registry/hive.h"
#include "coordinator/join/secret.h"

namespace roamstead::join {

// "ControlSet001": the set that the next boot uses, by Select\Current (Select\Default where they differ is
// what Windows would take, so a difference is refused).
Result<std::string> control_set(const registry::Hive& system);

// 16 bytes. Refuses a hive whose boot key is not in it (syskey with a password or on a floppy disk).
Result<SecretBytes> boot_key(const registry::Hive& system);

enum class SealForm : std::uint8_t {
  aes,  // Windows Vista and later
  des,  // Windows XP and Server 2003
};

struct LsaKey {
  Guid id;  // zero in the old form
  SecretBytes key;
};

// The keys that a SECURITY hive's secrets are sealed with.
struct LsaKeys {
  SealForm form = SealForm::aes;
  std::vector<LsaKey> keys;  // never empty; the first seals
};

Result<LsaKeys> lsa_keys(const registry::Hive& security, ByteView boot_key);

// The value of CurrVal or OldVal. Seals anew each time: two calls give different bytes of one size, which is
// sealed_bytes().
Result<Bytes> seal_secret(const LsaKeys& keys, ByteView clear);
std::size_t sealed_bytes(SealForm form, std::size_t clear_bytes);
Result<SecretBytes> unseal_secret(const LsaKeys& keys, ByteView sealed);

// PolEKList's value, holding `keys` sealed with the boot key: what a hive made for tests needs. Real hives
// keep theirs, as all their secrets hang on it.
Result<Bytes> seal_key_list(const LsaKeys& keys, ByteView boot_key);

}  // namespace roamstead::join
