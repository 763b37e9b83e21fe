#include "coordinator/join/lsa.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "common/base/text.h"
#include "coordinator/join/ciphers.h"

namespace roamstead::join {
namespace {

constexpr std::size_t kBootKeyBytes = 16;
constexpr std::array<std::size_t, kBootKeyBytes> kBootKeyOrder = {8, 5, 4, 2,  11, 9,  13, 3,
                                                                  0, 6, 1, 12, 14, 10, 15, 7};

// A record of Windows Vista and later.
namespace record {
constexpr std::size_t kKeyId = 4, kAlgorithm = 20, kSalt = 28, kSaltBytes = 32, kCiphertext = 60;
constexpr std::uint32_t kVersion = 0x01000000, kAes256 = 3;
constexpr std::size_t kClearHeader = 16, kBlock = 16;
}  // namespace record

// The secret inside PolEKList: who is current, then the keys.
namespace key_list {
constexpr std::size_t kCurrent = 4, kCount = 24, kKeys = 28;
constexpr std::size_t kKeyHeader = 24, kKeySize = 20;
constexpr std::uint32_t kMaxKeys = 64;
constexpr std::size_t kAesKeyBytes = 32;
}  // namespace key_list

// PolSecretEncryptionKey of Windows XP and Server 2003.
namespace old_key {
constexpr std::size_t kBytes = 76, kData = 12, kDataBytes = 48, kSalt = 60, kKey = 16, kKeyBytes = 16;
}

// A secret of the old form: what comes before the ciphertext, and inside it.
constexpr std::size_t kOldHeader = 12, kOldClearHeader = 8, kOldBlock = 8;

// In every hive seen, whoever installed it.
const Guid kBootKeyId = Guid::parse("7be1ffec-992a-4074-aa93-9adbff26f1fc").value_or(Guid());

std::size_t round_up(std::size_t number, std::size_t to) { return (number + to - 1) / to * to; }

Result<Bytes> default_value(const registry::Hive& hive, const registry::Key& key) {
  RS_TRY(const auto value, hive.find_value(key, u""));
  if (!value) return fail(ErrorCode::corrupt, "has no default value");
  Bytes scratch;
  RS_TRY(const auto data, hive.data(*value, scratch));
  return to_bytes(data);
}

Result<std::uint32_t> number(const registry::Hive& hive, const registry::Key& key, std::u16string_view name) {
  RS_TRY(const auto value, hive.find_value(key, name));
  if (!value) return fail(ErrorCode::not_found, "has no value " + to_wtf8(name));
  Bytes scratch;
  RS_TRY(const auto data, hive.data(*value, scratch));
  if (data.size() < 4) return fail(ErrorCode::corrupt, "its value " + to_wtf8(name) + " is no number");
  return load_le<std::uint32_t>(data);
}

std::optional<unsigned> hex_digit(char16_t unit) {
  if (unit >= u'0' && unit <= u'9') return unit - u'0';
  if (unit >= u'a' && unit <= u'f') return unit - u'a' + 10u;
  if (unit >= u'A' && unit <= u'F') return unit - u'A' + 10u;
  return std::nullopt;
}

// Eight hexadecimal digits, 4 bytes, in the name of a key's class.
Result<void> append_class_digits(ByteView name, SecretBytes& out) {
  for (std::size_t byte = 0; byte < 4; ++byte) {
    std::optional<unsigned> high, low;
    if (name.size() >= 4 * byte + 4) {
      high = hex_digit(load_le<std::uint16_t>(name, 4 * byte));
      low = hex_digit(load_le<std::uint16_t>(name, 4 * byte + 2));
    }
    if (!high || !low)
      return fail(ErrorCode::corrupt,
                  "its class is not eight hexadecimal digits; tools that copy keys without their classes "
                  "destroy the boot key");
    out.push_back(static_cast<std::byte>(*high << 4 | *low));
  }
  return {};
}

Result<Bytes> seal_aes(const Guid& key_id, ByteView key, ByteView clear) {
  const auto whole = record::kClearHeader + clear.size();
  SecretBytes padded(round_up(whole, record::kBlock));
  store_le<std::uint32_t>(padded, 0, static_cast<std::uint32_t>(clear.size()));
  std::copy(clear.begin(), clear.end(), padded.begin() + record::kClearHeader);
  Bytes sealed(record::kCiphertext);
  store_le<std::uint32_t>(sealed, 0, record::kVersion);
  std::copy(key_id.bytes.begin(), key_id.bytes.end(), sealed.begin() + record::kKeyId);
  store_le<std::uint32_t>(sealed, record::kAlgorithm, record::kAes256);
  const auto salt = MutableByteView(sealed).subspan(record::kSalt, record::kSaltBytes);
  fill_random(salt);
  RS_TRY(const auto stretched, sha256_thousand(key, salt));
  RS_TRY(const auto ciphertext, aes_blocks(stretched, padded, Direction::encrypt));
  sealed.insert(sealed.end(), ciphertext.begin(), ciphertext.end());
  // Where the text fills its last block Windows leaves a further one of zeros, not enciphered.
  if (whole % record::kBlock == 0) sealed.resize(sealed.size() + record::kBlock);
  return sealed;
}

Result<SecretBytes> unseal_aes(ByteView key, ByteView sealed) {
  const auto salt = sealed.subspan(record::kSalt, record::kSaltBytes);
  const auto ciphertext = sealed.subspan(record::kCiphertext);
  RS_TRY(const auto stretched, sha256_thousand(key, salt));
  RS_TRY(const auto clear,
         aes_blocks(stretched, ciphertext.first(ciphertext.size() / record::kBlock * record::kBlock),
                    Direction::decrypt));
  const auto bytes = load_le<std::uint32_t>(clear);
  if (bytes > clear.size() - record::kClearHeader ||
      !all_zero(ByteView(clear).subspan(4, record::kClearHeader - 4)))
    return fail(ErrorCode::corrupt,
                "does not open with its key: the hives are not of one machine, or damaged");
  return to_secret(ByteView(clear).subspan(record::kClearHeader, bytes));
}

Result<void> check_record(ByteView sealed) {
  if (sealed.size() < record::kCiphertext + record::kClearHeader || sealed.size() > (1u << 20))
    return fail(ErrorCode::corrupt,
                "a sealed record cannot have " + std::to_string(sealed.size()) + " bytes");
  const auto version = load_le<std::uint32_t>(sealed);
  const auto algorithm = load_le<std::uint32_t>(sealed, record::kAlgorithm);
  if (version != record::kVersion || algorithm != record::kAes256)
    return fail(ErrorCode::unsupported, "is sealed in a way not known: version " + std::to_string(version) +
                                            ", algorithm " + std::to_string(algorithm));
  return {};
}

Result<LsaKeys> read_key_list(ByteView sealed, ByteView boot) {
  RS_CHECK(check_record(sealed));
  RS_TRY(const auto list, unseal_aes(boot, sealed));
  const ByteView view = list;
  if (view.size() < key_list::kKeys) return fail(ErrorCode::corrupt, "the list of keys ends early");
  const auto current = Guid::from(view.subspan(key_list::kCurrent, 16));
  const auto count = load_le<std::uint32_t>(view, key_list::kCount);
  if (count == 0 || count > key_list::kMaxKeys)
    return fail(ErrorCode::corrupt, "holds " + std::to_string(count) + " keys");
  LsaKeys keys;
  auto rest = view.subspan(key_list::kKeys);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (rest.size() < key_list::kKeyHeader) return fail(ErrorCode::corrupt, "the list of keys ends early");
    const auto bytes = load_le<std::uint32_t>(rest, key_list::kKeySize);
    if (bytes != key_list::kAesKeyBytes || bytes > rest.size() - key_list::kKeyHeader)
      return fail(ErrorCode::unsupported, "holds a key of " + std::to_string(bytes) + " bytes, not 32");
    LsaKey key{Guid::from(rest.first(16)), to_secret(rest.subspan(key_list::kKeyHeader, bytes))};
    rest = rest.subspan(key_list::kKeyHeader + bytes);
    const auto place = key.id == current ? keys.keys.begin() : keys.keys.end();
    keys.keys.insert(place, std::move(key));
  }
  if (keys.keys.front().id != current)
    return fail(ErrorCode::corrupt, "lacks its current key " + current.to_string());
  return keys;
}

}  // namespace

Result<std::string> control_set(const registry::Hive& system) {
  RS_TRY_CTX(const auto key, "hive " + system.name(), system.find("Select"));
  RS_TRY_CTX(const auto current, "hive " + system.name() + ", key Select", number(system, key, u"Current"));
  const auto next = number(system, key, u"Default").value_or(current);
  if (current == 0 || current > 999 || next != current)
    return fail(ErrorCode::unsupported, "hive " + system.name() + ": the control set last used is " +
                                            std::to_string(current) + ", the next boot's is " +
                                            std::to_string(next) +
                                            "; boot the image once and shut it down, so that they are one");
  char name[16] = {};
  std::snprintf(name, sizeof name, "ControlSet%03u", static_cast<unsigned>(current % 1000));
  return std::string(name);
}

Result<SecretBytes> boot_key(const registry::Hive& system) {
  RS_TRY(const auto set, control_set(system));
  const auto path = set + "\\Control\\Lsa";
  const auto where = "hive " + system.name() + ", key " + path;
  RS_TRY_CTX(const auto lsa, where, system.find(path));
  RS_TRY_CTX(const auto place, where, system.find_value(lsa, u"SecureBoot"));
  if (place) {
    RS_TRY_CTX(const auto kind, where, number(system, lsa, u"SecureBoot"));
    if (kind == 2 || kind == 3)
      return fail(
          ErrorCode::unsupported,
          where + ": SecureBoot is " + std::to_string(kind) + ", the boot key " +
              (kind == 2 ? "follows from a password" : "is on a floppy disk") +
              " and not in the hive; run syskey in the image and choose \"store startup key locally\"");
  }
  SecretBytes scattered;
  for (const auto* name : {"JD", "Skew1", "GBG", "Data"}) {
    RS_TRY_CTX(const auto key, where, system.find(lsa, name));
    RS_TRY_CTX(const auto text, where + "\\" + name, system.class_name(key));
    RS_CHECK_CTX(where + "\\" + name, append_class_digits(text, scattered));
  }
  SecretBytes key(kBootKeyBytes);
  for (std::size_t i = 0; i < kBootKeyBytes; ++i) key[i] = scattered[kBootKeyOrder[i]];
  return key;
}

Result<LsaKeys> lsa_keys(const registry::Hive& security, ByteView boot) {
  if (boot.size() != kBootKeyBytes)
    return fail(ErrorCode::invalid_argument, "a boot key has 16 bytes, not " + std::to_string(boot.size()));
  const auto hive = "hive " + security.name();
  RS_TRY_CTX(const auto policy, hive, security.find("Policy"));
  RS_TRY_CTX(const auto list_key, hive, security.find_subkey(policy, u"PolEKList"));
  if (list_key) {
    const auto where = hive + ", key Policy\\PolEKList";
    RS_TRY_CTX(const auto sealed, where, default_value(security, *list_key));
    RS_TRY_CTX(auto keys, where, read_key_list(sealed, boot));
    return keys;
  }
  RS_TRY_CTX(const auto old, hive, security.find_subkey(policy, u"PolSecretEncryptionKey"));
  if (!old)
    return fail(ErrorCode::not_found,
                hive + ": Policy has neither PolEKList nor PolSecretEncryptionKey: not a SECURITY hive?");
  const auto where = hive + ", key Policy\\PolSecretEncryptionKey";
  RS_TRY_CTX(const auto sealed, where, default_value(security, *old));
  if (sealed.size() != old_key::kBytes)
    return fail(ErrorCode::corrupt, where + ": has " + std::to_string(sealed.size()) + " bytes, not 76");
  const ByteView view = sealed;
  RS_TRY_CTX(const auto stretched, where, md5_thousand(boot, view.subspan(old_key::kSalt)));
  RS_TRY_CTX(const auto clear, where, rc4(stretched, view.subspan(old_key::kData, old_key::kDataBytes)));
  LsaKeys keys;
  keys.form = SealForm::des;
  keys.keys.push_back({Guid(), to_secret(ByteView(clear).subspan(old_key::kKey, old_key::kKeyBytes))});
  return keys;
}

std::size_t sealed_bytes(SealForm form, std::size_t clear_bytes) {
  if (form == SealForm::des) return kOldHeader + round_up(kOldClearHeader + clear_bytes, kOldBlock);
  // A whole last block is followed by one more.
  return record::kCiphertext + (record::kClearHeader + clear_bytes) / record::kBlock * record::kBlock +
         record::kBlock;
}

Result<Bytes> seal_secret(const LsaKeys& keys, ByteView clear) {
  if (clear.size() > 65535)
    return fail(ErrorCode::invalid_argument,
                "a secret of " + std::to_string(clear.size()) + " bytes; LSA holds up to 65535");
  if (keys.form == SealForm::aes) return seal_aes(keys.keys.front().id, keys.keys.front().key, clear);
  SecretBytes padded(round_up(kOldClearHeader + clear.size(), kOldBlock));
  store_le<std::uint32_t>(padded, 0, static_cast<std::uint32_t>(clear.size()));
  store_le<std::uint32_t>(padded, 4, 1);  // version
  std::copy(clear.begin(), clear.end(), padded.begin() + kOldClearHeader);
  RS_TRY(const auto ciphertext, des_blocks(keys.keys.front().key, padded, Direction::encrypt));
  // Length and greatest length of the ciphertext; where Windows has a stale pointer we have none.
  Bytes sealed(kOldHeader);
  store_le<std::uint32_t>(sealed, 0, static_cast<std::uint32_t>(ciphertext.size()));
  store_le<std::uint32_t>(sealed, 4, static_cast<std::uint32_t>(ciphertext.size()));
  sealed.insert(sealed.end(), ciphertext.begin(), ciphertext.end());
  return sealed;
}

Result<SecretBytes> unseal_secret(const LsaKeys& keys, ByteView sealed) {
  if (keys.form == SealForm::aes) {
    RS_CHECK_CTX("a secret", check_record(sealed));
    const auto id = Guid::from(sealed.subspan(record::kKeyId, 16));
    for (const auto& key : keys.keys)
      if (key.id == id) {
        RS_TRY_CTX(auto clear, "a secret", unseal_aes(key.key, sealed));
        return clear;
      }
    return fail(ErrorCode::corrupt,
                "a secret is sealed with the key " + id.to_string() + ", which PolEKList does not have");
  }
  if (sealed.size() < kOldHeader) return fail(ErrorCode::corrupt, "a secret of the old form ends early");
  const auto length = load_le<std::uint32_t>(sealed);
  if (length > sealed.size() - kOldHeader || length % kOldBlock != 0 || length < kOldClearHeader)
    return fail(ErrorCode::corrupt, "a secret of the old form claims " + std::to_string(length) +
                                        " bytes of " + std::to_string(sealed.size() - kOldHeader));
  RS_TRY(const auto clear,
         des_blocks(keys.keys.front().key, sealed.subspan(kOldHeader, length), Direction::decrypt));
  const auto bytes = load_le<std::uint32_t>(clear);
  if (bytes > clear.size() - kOldClearHeader)
    return fail(ErrorCode::corrupt,
                "a secret does not open with the LSA's key: the hives are not of one machine, or damaged");
  return to_secret(ByteView(clear).subspan(kOldClearHeader, bytes));
}

Result<Bytes> seal_key_list(const LsaKeys& keys, ByteView boot) {
  if (keys.form != SealForm::aes || keys.keys.empty())
    return fail(ErrorCode::invalid_argument, "only keys of Windows Vista and later are kept in a list");
  SecretBytes list(key_list::kKeys);
  store_le<std::uint32_t>(list, 0, 1);
  std::copy(keys.keys.front().id.bytes.begin(), keys.keys.front().id.bytes.end(),
            list.begin() + key_list::kCurrent);
  store_le<std::uint32_t>(list, 20, record::kAes256);
  store_le<std::uint32_t>(list, key_list::kCount, static_cast<std::uint32_t>(keys.keys.size()));
  for (const auto& key : keys.keys) {
    list.insert(list.end(), key.id.bytes.begin(), key.id.bytes.end());
    const auto at = list.size();
    list.resize(at + 8);
    store_le<std::uint32_t>(list, at, record::kAes256);
    store_le<std::uint32_t>(list, at + 4, static_cast<std::uint32_t>(key.key.size()));
    list.insert(list.end(), key.key.begin(), key.key.end());
  }
  return seal_aes(kBootKeyId, boot, list);
}

}  // namespace roamstead::join
