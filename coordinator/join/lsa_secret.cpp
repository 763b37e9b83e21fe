#include "coordinator/join/lsa_secret.h"

#include <array>

#include "common/registry/format.h"

namespace roamstead::join {
namespace {

using compose::HiveId;
using compose::RegistryEdit;

constexpr std::array<std::uint8_t, 100> kSecretDescriptor = {
    0x01, 0x00, 0x04, 0x80, 0x48, 0x00, 0x00, 0x00, 0x58, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14,
    0x00, 0x00, 0x00, 0x02, 0x00, 0x34, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x18, 0x00, 0x03, 0x00,
    0x0f, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x20, 0x00, 0x00, 0x00, 0x20, 0x02, 0x00,
    0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x20, 0x00, 0x00, 0x00, 0x20,
    0x02, 0x00, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x12, 0x00, 0x00, 0x00};

}  // namespace

Bytes lsa_secret_descriptor() { return to_bytes(std::as_bytes(std::span(kSecretDescriptor))); }

Result<std::vector<RegistryEdit>> lsa_secret_edits(const LsaKeys& keys, std::string_view name, ByteView clear,
                                                   std::uint64_t now_100ns) {
  constexpr auto kNone = static_cast<std::uint32_t>(registry::ValueType::none);
  const auto key = "Policy\\Secrets\\" + std::string(name);
  std::vector<RegistryEdit> edits;
  const auto add = [&](const char* part, Bytes data) {
    edits.push_back(compose::set_data(HiveId::security, key + "\\" + part, "", kNone, std::move(data)));
  };
  edits.push_back(compose::set_data(HiveId::security, key, "", kLsaSecretObject, {}));
  add("SecDesc", lsa_secret_descriptor());
  Bytes time(8);
  store_le<std::uint64_t>(time, 0, now_100ns);
  for (const auto& [value, when] : {std::pair("CurrVal", "CupdTime"), std::pair("OldVal", "OupdTime")}) {
    RS_TRY(auto sealed, seal_secret(keys, clear));
    add(value, std::move(sealed));
    edits.back().secret = true;
    add(when, time);
  }
  return edits;
}

}  // namespace roamstead::join
