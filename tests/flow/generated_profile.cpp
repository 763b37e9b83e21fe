#include "tests/flow/generated_profile.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace roamstead::flow {
namespace {

constexpr std::uint64_t kTime_100ns = 134'000'000'000'000'000;  // August 2025
constexpr std::uint64_t kYear_100ns = 315'360'000'000'000;

constexpr const char* kWords[] = {
    "invoice", "report",  "minutes", "budget", "offer", "Übersicht", "Rechnung", "Straße",  "résumé", "señor",
    "отчёт",   "договор", "報告書",  "議事録", "예산",  "σχέδιο",    "תקציב",    "naïve 𝒳", "plan"};
constexpr const char* kApplications[] = {"Contoso/Mailer", "Fabrikam/Draw", "Northwind/Sheets",
                                         "Litware/Chat"};

template <std::size_t Count>
std::string pick(const char* const (&choices)[Count], Random& random) {
  return choices[random() % Count];
}

std::string hexadecimal(std::uint64_t value, int digits) {
  std::string text;
  while (digits-- > 0) text += "0123456789abcdef"[(value >> (4 * digits)) & 15];
  return text;
}

std::size_t random_size(double median, double sigma, Random& random) {
  std::lognormal_distribution<double> sizes(std::log(median), sigma);
  return static_cast<std::size_t>(std::min(sizes(random), 2'000'000.0));
}

// Owned by a user, with access for that user and SYSTEM and nobody else: O:…G:SYD:P(A;;FA;;;…)(A;;FA;;;SY).
Bytes private_security() {
  constexpr unsigned char kUser[] = {1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0,    0, 1, 0,
                                     0, 0, 2, 0, 0, 0, 3, 0, 0,  0, 0xE9, 3, 0, 0};
  constexpr unsigned char kSystem[] = {1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};
  constexpr std::uint32_t kAllAccess = 0x001F01FF;
  const ByteView user = std::as_bytes(std::span(kUser)), system = std::as_bytes(std::span(kSystem));
  constexpr std::uint32_t kHeader = 20, kAclHeader = 8, kAceHeader = 8;
  constexpr std::uint32_t kAcl = kAclHeader + 2 * kAceHeader + sizeof kUser + sizeof kSystem;
  ByteWriter writer;
  writer.le<std::uint16_t>(1);
  writer.le<std::uint16_t>(0x9004);  // self-relative, DACL protected and present
  for (const std::uint32_t offset :
       {kHeader + kAcl, std::uint32_t(kHeader + kAcl + sizeof kUser), 0u, kHeader})
    writer.le<std::uint32_t>(offset);
  writer.le<std::uint16_t>(2);
  writer.le<std::uint16_t>(kAcl);
  writer.le<std::uint32_t>(2);
  for (const ByteView sid : {user, system}) {
    writer.le<std::uint16_t>(0);
    writer.le<std::uint16_t>(static_cast<std::uint16_t>(kAceHeader + sid.size()));
    writer.le<std::uint32_t>(kAllAccess);
    writer.bytes(sid);
  }
  writer.bytes(user);
  writer.bytes(system);
  return writer.take();
}

profile::Metadata random_metadata(Random& random) {
  profile::Metadata metadata;
  if (random() % 10 == 0) metadata.security = private_security();
  metadata.created_100ns = kTime_100ns + random() % kYear_100ns;
  metadata.written_100ns = metadata.created_100ns + random() % kYear_100ns;
  metadata.attributes = profile::kAttributeArchive;
  const auto dice = random() % 20;
  if (dice == 0) metadata.attributes |= profile::kAttributeHidden;
  if (dice == 1) metadata.attributes |= profile::kAttributeReadOnly;
  if (dice == 2) metadata.attributes = profile::kAttributeHidden | profile::kAttributeSystem;
  if (dice == 3) metadata.attributes |= profile::kAttributeNotIndexed;
  return metadata;
}

struct File {
  std::string path;
  Bytes content;
};

File random_file(std::size_t number, Random& random) {
  const auto dice = random() % 100;
  const auto application = pick(kApplications, random);
  const auto count = std::to_string(number);
  if (dice < 35)
    return {"AppData/Local/Contoso/Browser/User Data/Default/Cache/Cache_Data/f_" + hexadecimal(number, 6),
            random_bytes(random_size(12'000, 1.4, random), random)};
  if (dice < 55)
    return {"AppData/Roaming/" + application + "/設定/" + pick(kWords, random) + " " + count + ".json",
            random_text(random_size(2'000, 1.4, random), random)};
  if (dice < 65)
    return {"AppData/Roaming/Microsoft/Windows/Recent/" + pick(kWords, random) + " " + count + ".docx.lnk",
            random_bytes(random_size(700, 0.3, random), random)};
  if (dice < 75)
    return {"AppData/Local/" + application + "/logs/" + pick(kWords, random) + "-" + count + ".log",
            random_text(random_size(9'000, 1.5, random), random)};
  if (dice < 90)
    return {"Documents/" + pick(kWords, random) + "/" + pick(kWords, random) + " – " + count + ".docx",
            random_bytes(random_size(20'000, 1.3, random), random)};
  if (dice < 95)
    return {"Desktop/" + pick(kWords, random) + " " + count + ".txt",
            random_text(random_size(500, 1.5, random), random)};
  return {"Pictures/Málaga 2026/IMG_" + count + ".jpg",
          random_bytes(random_size(90'000, 0.8, random), random)};
}

void add_streams(ModelItem& item, Random& random) {
  if (random() % 12 == 0) item.streams["Zone.Identifier"] = to_bytes("[ZoneTransfer]\r\nZoneId=3\r\n");
  if (random() % 40 == 0)
    item.streams["Vorschau 画像"] = random_bytes(random_size(15'000, 1.0, random), random);
  if (random() % 60 == 0) item.streams["empty"] = {};
}

// Sizes around the borders of clusters, tag blocks and fetches; and what the flow changes by name.
void add_fixed(ProfileModel& model, Random& random) {
  for (const std::size_t size :
       {0, 1, 600, 4095, 4096, 4097, 65'535, 65'536, 65'537, 262'144, 262'145, 1'048'577})
    model.add_file("Documents/edge-" + std::to_string(size) + ".bin", random_metadata(random),
                   random_bytes(size, random));
  model.add_file(kDatabase, random_metadata(random), random_bytes(90 * 4096, random));
  model.add_file(kMailStore, random_metadata(random), random_bytes(1'500'000, random));
  model.add_file("AppData/Local/sparse.db", random_metadata(random), Bytes(3'000'000));
  model.add_file("ntuser.ini", random_metadata(random), random_text(20, random));
  model.add_directory("Documents/leer", random_metadata(random));
  std::string deep = "AppData/Local";
  for (int level = 0; level < 12; ++level) deep += "/level " + std::to_string(level);
  model.add_file(deep + "/bottom.txt", random_metadata(random), random_text(50, random));
}

}  // namespace

Bytes random_bytes(std::size_t size, Random& random) {
  Bytes bytes(size);
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) store_le<std::uint64_t>(bytes, at, random());
  for (; at < size; ++at) bytes[at] = static_cast<std::byte>(random());
  return bytes;
}

Bytes random_text(std::size_t size, Random& random) {
  std::string text;
  while (text.size() < size)
    text += "\"" + pick(kWords, random) + "." + std::to_string(random() % 1000) + "\": \"" +
            hexadecimal(random(), 8) + "\",\r\n";
  text.resize(size);
  return to_bytes(text);
}

ProfileModel generate_profile(std::size_t files, Random& random) {
  ProfileModel model;
  model.add_directory("", random_metadata(random));
  add_fixed(model, random);
  for (std::size_t i = 0; i < std::max<std::size_t>(20, files / 10); ++i)
    model.add_file(std::string(kArchive) + "/" + pick(kWords, random) + " " + std::to_string(i) + ".txt",
                   random_metadata(random), random_text(random_size(1'800, 1.0, random), random));
  for (std::size_t number = 0; model.files() < std::max<std::size_t>(files, 100); ++number) {
    auto file = random_file(number, random);
    add_streams(model.add_file(file.path, random_metadata(random), std::move(file.content)), random);
  }
  return model;
}

}  // namespace roamstead::flow
