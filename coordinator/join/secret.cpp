#include "coordinator/join/secret.h"

#include <cstring>

#include "common/base/guid.h"
#include "common/base/text.h"

namespace roamstead::join {

void cleanse(void* memory, std::size_t bytes) {
  if (bytes != 0) ::explicit_bzero(memory, bytes);
}

SecretBytes to_secret(ByteView bytes) { return SecretBytes(bytes.begin(), bytes.end()); }

Result<SecretBytes> secret_utf16(std::string_view text) {
  RS_TRY(auto units, to_utf16(text));
  SecretBytes bytes(units.size() * 2);
  if (!bytes.empty()) std::memcpy(bytes.data(), units.data(), bytes.size());
  cleanse(units.data(), units.size() * sizeof(char16_t));
  return bytes;
}

SecretBytes random_machine_password() {
  // From '!' to '~' but '"', which a distinguished name, a command line or XML would want quoted: 93 of them.
  constexpr unsigned kFirst = '!', kLast = '~', kCount = kLast - kFirst;
  SecretBytes password;
  password.reserve(kMachinePasswordCharacters * 2);
  SecretBytes random(kMachinePasswordCharacters);
  while (password.size() < kMachinePasswordCharacters * 2) {
    fill_random(random);
    for (const auto byte : random) {
      const auto value = std::to_integer<unsigned>(byte);
      if (value >= 2 * kCount || password.size() == kMachinePasswordCharacters * 2) continue;  // no bias
      auto character = kFirst + value % kCount;
      if (character >= '"') ++character;
      password.push_back(static_cast<std::byte>(character));
      password.push_back(std::byte{0});
    }
  }
  return password;
}

}  // namespace roamstead::join
