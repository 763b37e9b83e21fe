#include <doctest/doctest.h>

#include <set>

#include "common/settings/sent_settings.h"
#include "tests/support/seed.h"

namespace roamstead::settings {

TEST_CASE(
    "no setting that names programs, paths, disks, addresses or identities may come from a coordinator") {
  std::set<std::string_view> sent;
  for (const auto& each : setting_table())
    if (each.from_coordinator) sent.insert(each.name);
  // Whoever lets a coordinator send another one says so here, and why it can do no harm in docs/security.md.
  CHECK(sent == std::set<std::string_view>{"FillLevel", "FillMiBPerSecond", "FillPauses",
                                           "SnapshotIntervalSeconds", "MaxLagSeconds", "PatienceSeconds",
                                           "LearnSeconds", "LogOffSeconds", "HiveSeconds", "PrepareSeconds",
                                           "Interception", "LogLevel"});
  for (const auto& each : setting_table())
    if (each.from_coordinator)
      CHECK_MESSAGE((each.type == Setting::Type::number || !each.choices.empty()), each.name);
}

TEST_CASE("what a coordinator may send is looked at by name and value") {
  CHECK((*check_sent({"fillmibpersecond", "20"}))->name == "FillMiBPerSecond");
  CHECK(check_sent({"LogLevel", "debug"}));
  CHECK(check_sent({"Nonsense", "1"}).error().code == ErrorCode::not_found);
  for (const char* name :
       {"Snapshots", "FreezeCommand", "MergeCommand", "DiskTop", "Coordinator", "IdentityDirectory",
        "StateDirectory", "LogDirectory", "Drive", "ProfilesDirectory", "Partition", "ReplaceLeftovers"})
    CHECK(check_sent({name, "1"}).error().code == ErrorCode::denied);
  for (const char* value :
       {"", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616", "1048577", "one"})
    CHECK_MESSAGE(check_sent({"FillMiBPerSecond", value}).error().code == ErrorCode::invalid_argument, value);
  for (const char* value : {"", "much", "debug\n", "Debug", "\xff"})
    CHECK_MESSAGE(check_sent({"LogLevel", value}).error().code == ErrorCode::invalid_argument, value);
}

TEST_CASE("more or longer settings than any coordinator sends are refused") {
  SentSettings sent(kMostSentSettings, {"LogLevel", "info"});
  CHECK(check_sent_size(sent));
  sent.push_back({"LogLevel", "info"});
  CHECK(check_sent_size(sent).error().code == ErrorCode::protocol);
  CHECK(check_sent_size({{std::string(kMostSentBytes + 1, 'x'), ""}}).error().code == ErrorCode::protocol);
  CHECK(check_sent_size({{"", std::string(kMostSentBytes + 1, 'x')}}).error().code == ErrorCode::protocol);
  for (const char* name : {"Log\nLevel", "Log Level", "\x1b[2J", "L\xc3\xb6g"})
    CHECK(check_sent_size({{name, "1"}}).error().code == ErrorCode::protocol);
  CHECK(check_sent_size({{"ANameOfALater1", "1"}}));
}

TEST_CASE("what is kept comes back, without what no coordinator may set") {
  const SentSettings sent = {{"FillMiBPerSecond", "20"},
                             {"FreezeCommand", "evil"},
                             {"loglevel", "debug"},
                             {"LogLevel", "x\nDrive=D:"}};
  const auto file = encode_sent(sent);
  CHECK(decode_sent(file).value() == SentSettings{{"FillMiBPerSecond", "20"}, {"LogLevel", "debug"}});
  CHECK(decode_sent(encode_sent({})).value().empty());
}

TEST_CASE("a damaged file of kept settings is refused or read, never more") {
  auto random = support::seeded_random();
  const auto whole = encode_sent({{"FillMiBPerSecond", "20"}, {"LogLevel", "debug"}, {"FillPauses", "0"}});
  for (std::size_t length = 1; length < whole.size(); ++length)
    if (const auto cut = decode_sent(ByteView(whole).first(length)); !cut)
      CHECK(cut.error().code == ErrorCode::corrupt);
  for (int i = 0; i < 20'000; ++i) {
    auto bent = whole;
    for (auto flips = 1 + random() % 4; flips != 0; --flips)
      bent[random() % bent.size()] ^= static_cast<std::byte>(1 << random() % 8);
    if (const auto read = decode_sent(bent))
      for (const auto& each : *read) (void)check_sent(each);
  }
  CHECK(!decode_sent(to_bytes("something else\n")));
  CHECK(!decode_sent(Bytes(kMostSentFileBytes + 1, std::byte{'\n'})));
}

}  // namespace roamstead::settings
