// Joining shown against a real domain: accounts made over LDAP, hives edited, and what others read from both.
// The program runs itself once more inside tests/support/with_domain.
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>

#include "common/base/file_time.h"
#include "common/registry/recovery.h"
#include "coordinator/join/direct.h"
#include "coordinator/join/directory.h"
#include "coordinator/join/odj_blob.h"
#include "coordinator/join/testing_hives.h"
#include "tests/support/command_output.h"
#include "tests/support/corpus.h"

using namespace roamstead;
using namespace roamstead::join;
using support::must;
using support::output_of;

namespace {

std::string domain_file(const std::string& name) {
  return std::string(std::getenv("ROAMSTEAD_DOMAIN")) + "/" + name;
}
bool inside() { return std::getenv("ROAMSTEAD_DOMAIN") != nullptr; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}
void write_file(const std::string& path, ByteView bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}
Bytes unpacked(const std::string& path) { return to_bytes(output_of("xz -dc '" + path + "'")); }

Bytes recovered(const std::string& path) {
  const auto hive = read_text(path), log1 = read_text(path + ".LOG1"), log2 = read_text(path + ".LOG2");
  const registry::LogFile logs[] = {{"LOG1", as_bytes(log1)}, {"LOG2", as_bytes(log2)}};
  return must(registry::recover(as_bytes(hive), path, logs)).file;
}

DirectoryOptions by_password() {
  DirectoryOptions options;
  options.url = "ldaps://dc1.corp.roam.test";
  options.bind_name = "Administrator@corp.roam.test";
  auto password = read_text(domain_file("password"));
  password.pop_back();
  options.bind_password = to_secret(as_bytes(password));
  options.ca_file = domain_file("private/tls/ca.pem");
  return options;
}
DirectoryOptions by_kerberos() {
  DirectoryOptions options;
  options.url = "ldap://dc1.corp.roam.test";
  return options;
}

AccountRequest request(const std::string& name) { return {name, random_machine_password()}; }

// What the controller has of an account, in LDIF.
std::string controller_has(const std::string& filter, const std::string& attributes) {
  return output_of("ldbsearch -H " + domain_file("private/sam.ldb") + " '" + filter + "' " + attributes +
                   " 2>/dev/null");
}
std::string after(const std::string& text, const std::string& word) {
  const auto at = text.find(word);
  if (at == std::string::npos) return "";
  const auto begin = at + word.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}
// The NT hash that the controller keeps of a machine's password, in hexadecimal.
std::string controller_hash(const std::string& machine) {
  const auto ldif = controller_has("(sAMAccountName=" + machine + "$)", "unicodePwd");
  return after(
      output_of("echo '" + after(ldif, "unicodePwd:: ") + "' | base64 -d | od -An -tx1 | tr -d ' \\n'; echo"),
      "");
}

// Kerberos says whether the account exists and this is its password.
bool kerberos_takes(const std::string& machine, ByteView password) {
  const auto file = domain_file("machine-password");
  auto text = utf16le_to_wtf8(password) + "\n";
  write_file(file, as_bytes(text));
  return support::run_quietly("KRB5CCNAME=FILE:" + domain_file("machine-ticket") + " kinit '" + machine +
                              "$' <" + file);
}

struct Hives {
  registry::Editor system, security, sam;
};

// Joins, then asks others what the hives hold.
void join_and_judge(Hives hives, const Directory& directory, const AccountRequest& asked,
                    const Account& account) {
  Membership membership{directory.domain(), asked.machine_name, asked.machine_password, account.rid()};
  const auto edits = must(direct_join_edits(hives.system.hive(), hives.security.hive(), hives.sam.hive(),
                                            membership, now_100ns()));
  join::testing::apply(hives.system, compose::HiveId::system, edits);
  join::testing::apply(hives.security, compose::HiveId::security, edits);
  join::testing::apply(hives.sam, compose::HiveId::sam, edits);
  CHECK(must(machine_password(hives.system.hive(), hives.security.hive())) == asked.machine_password);
  write_file(domain_file("SYSTEM"), hives.system.file());
  write_file(domain_file("SECURITY"), hives.security.file());
  write_file(domain_file("SAM"), hives.sam.file());
  const auto hash = controller_hash(asked.machine_name);
  CHECK(hash.size() == 32);
  if (support::available("impacket-secretsdump")) {
    const auto dumped =
        output_of("PATH=/usr/bin:$PATH impacket-secretsdump -system " + domain_file("SYSTEM") +
                  " -security " + domain_file("SECURITY") + " LOCAL 2>&1");
    CHECK_MESSAGE(dumped.find("$MACHINE.ACC: aad3b435b51404eeaad3b435b51404ee:" + hash) != std::string::npos,
                  dumped);
  }
  if (support::available("samusrgrp")) {
    const auto groups = output_of("samusrgrp -L " + domain_file("SAM") + " 2>&1");
    CHECK_MESSAGE(groups.find(directory.domain().sid.child(512).to_string()) != std::string::npos, groups);
    CHECK_MESSAGE(groups.find(directory.domain().sid.child(513).to_string()) != std::string::npos, groups);
  }
  CHECK(kerberos_takes(asked.machine_name, asked.machine_password));
}

}  // namespace

TEST_CASE("the domain's tests run beside a domain of their own" * doctest::skip(inside())) {
  const char* source = std::getenv("ROAMSTEAD_SOURCE_DIR");
  REQUIRE(source != nullptr);
  char self[4096] = {};
  REQUIRE(::readlink("/proc/self/exe", self, sizeof self - 1) > 0);
  CHECK(support::run(std::string(source) + "/tests/support/with_domain " + self));
}

TEST_CASE("a log-in that is not safe or not right is refused" * doctest::skip(!inside())) {
  auto wrong_password = by_password();
  wrong_password.bind_password = to_secret(as_bytes("wrong"));
  CHECK(Directory::connect(wrong_password).error().code == ErrorCode::denied);
  auto no_password = by_password();
  no_password.bind_password.clear();
  CHECK(Directory::connect(no_password).error().code == ErrorCode::invalid_argument);
  auto stranger = by_password();  // the system's authorities did not sign this controller's certificate
  stranger.ca_file.clear();
  CHECK(Directory::connect(stranger).error().code == ErrorCode::unavailable);
  auto wrong_name = by_password();
  wrong_name.url = "ldaps://localhost";
  CHECK(Directory::connect(wrong_name).error().code == ErrorCode::unavailable);
  auto no_file = by_password();
  no_file.ca_file = "/nonexistent";
  CHECK(!Directory::connect(no_file));
  auto nobody_there = by_kerberos();
  nobody_there.url = "ldap://127.0.0.1:1";
  CHECK(Directory::connect(nobody_there).error().code == ErrorCode::unavailable);
  auto both = by_kerberos();
  both.url = "ldaps://dc1.corp.roam.test";
  CHECK(Directory::connect(both).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("the domain's facts are read from the controller" * doctest::skip(!inside())) {
  auto start_tls = by_password();
  start_tls.url = "ldap://dc1.corp.roam.test";
  for (const auto& options : {by_password(), start_tls, by_kerberos()}) {
    auto directory = must(Directory::connect(options));
    CHECK(directory.domain().netbios_name == "CORP");
    CHECK(directory.domain().dns_name == "corp.roam.test");
    CHECK(directory.domain().dns_forest == "corp.roam.test");
    const auto facts = controller_has("(objectClass=domain)", "objectSid objectGUID");
    CHECK(after(facts, "objectSid: ") == directory.domain().sid.to_string());
    CHECK(after(facts, "objectGUID: ") == directory.domain().guid.to_string());
    CHECK(must(directory.container("")) == "CN=Computers,DC=corp,DC=roam,DC=test");
    CHECK(directory.container("OU=Nowhere,DC=corp,DC=roam,DC=test").error().code == ErrorCode::not_found);
  }
}

TEST_CASE("accounts are made, refused or reused, and removed" * doctest::skip(!inside())) {
  auto directory = must(Directory::connect(by_kerberos()));
  REQUIRE(support::run_quietly("samba-tool ou create OU=Desks -H " + domain_file("private/sam.ldb") + " -s " +
                               domain_file("smb.conf")));
  const auto place = must(directory.container("OU=Desks,DC=corp,DC=roam,DC=test"));
  std::vector<AccountRequest> requests;
  for (int i = 0; i < 20; ++i) requests.push_back(request("Desk-" + std::to_string(100 + i)));
  requests.push_back(request("not a name"));
  const auto made = directory.create_accounts(requests, place, ExistingAccount::refuse);
  REQUIRE(made.size() == 21);
  for (std::size_t i = 0; i < 20; ++i) {
    const auto account = must(made[i]);
    CHECK(account.created);
    CHECK(account.distinguished_name == "CN=DESK-" + std::to_string(100 + i) + "," + place);
    CHECK(account.rid() >= 1000);
  }
  CHECK(made[20].error().code == ErrorCode::invalid_argument);
  CHECK(kerberos_takes("DESK-107", requests[7].machine_password));
  const auto stored = controller_has("(sAMAccountName=DESK-107$)", "");
  for (const auto* line :
       {"dNSHostName: desk-107.corp.roam.test", "userAccountControl: 4096",
        "servicePrincipalName: HOST/DESK-107", "servicePrincipalName: HOST/desk-107.corp.roam.test",
        "servicePrincipalName: RestrictedKrbHost/DESK-107",
        "servicePrincipalName: RestrictedKrbHost/desk-107.corp.roam.test"})
    CHECK_MESSAGE(stored.find(line) != std::string::npos, stored);

  const auto again = request("DESK-107");
  CHECK(directory.create_account(again, place, ExistingAccount::refuse).error().code == ErrorCode::exists);
  CHECK(kerberos_takes("DESK-107", requests[7].machine_password));
  // An account of that name elsewhere is the same account.
  const auto reused =
      must(directory.create_account(again, must(directory.container("")), ExistingAccount::reuse));
  CHECK(!reused.created);
  CHECK(reused.sid == made[7]->sid);
  CHECK(reused.distinguished_name == made[7]->distinguished_name);
  CHECK(kerberos_takes("DESK-107", again.machine_password));
  CHECK(!kerberos_takes("DESK-107", requests[7].machine_password));

  CHECK(must(directory.find_account("desk-107")).value().sid == reused.sid);
  for (std::size_t i = 0; i < 20; ++i) must(directory.delete_account(made[i]->distinguished_name));
  must(directory.delete_account(made[0]->distinguished_name));
  CHECK(!must(directory.find_account("DESK-107")));
}

TEST_CASE("a machine joined offline is the one the domain knows" * doctest::skip(!inside())) {
  auto directory = must(Directory::connect(by_password()));
  const auto asked = request("Vdi-0001");
  const auto account =
      must(directory.create_account(asked, must(directory.container("")), ExistingAccount::refuse));
  join_and_judge({join::testing::system_hive(), join::testing::security_hive(join::testing::aes_keys()),
                  join::testing::sam_hive()},
                 directory, asked, account);
}

TEST_CASE("so is one whose secrets are of the old form" * doctest::skip(!inside())) {
  auto directory = must(Directory::connect(by_password()));
  const auto asked = request("XP-0001");
  const auto account =
      must(directory.create_account(asked, must(directory.container("")), ExistingAccount::refuse));
  join_and_judge(
      {join::testing::system_hive(), join::testing::old_security_hive(), join::testing::sam_hive()},
      directory, asked, account);
}

TEST_CASE("hives that Windows made are joined as well as ours" * doctest::skip(!inside())) {
  const auto system_file = support::corpus("hives/misc/dissect-SYSTEM.xz");
  const auto security_file = support::corpus("hives/museum/Win11/SECURITY");
  const auto sam_file = support::corpus("hives/museum/Win11/SAM");
  if (system_file.empty() || security_file.empty() || sam_file.empty()) return;
  Hives hives{must(registry::Editor::open(unpacked(system_file), "SYSTEM")),
              must(registry::Editor::open(recovered(security_file), "SECURITY")),
              must(registry::Editor::open(to_bytes(read_text(sam_file)), "SAM"))};
  // These hives are of three machines: the SECURITY hive gets a new key under this SYSTEM's boot key, and
  // loses the secrets that its old key holds.
  const auto boot = must(boot_key(hives.system.hive()));
  const auto secrets = must(hives.security.hive().find("Policy\\Secrets"));
  std::vector<std::uint32_t> cells;
  must(hives.security.hive().subkeys(secrets, cells));
  for (const auto cell : cells) must(hives.security.delete_key(cell));
  const auto keys = join::testing::aes_keys();
  join::testing::put(hives.security, "Policy\\PolEKList", "", 0, must(seal_key_list(keys, boot)));
  join::testing::put(hives.security, "Policy\\Secrets\\NL$KM\\CurrVal", "", 0,
                     must(seal_secret(keys, Bytes(64, std::byte{1}))));
  auto directory = must(Directory::connect(by_password()));
  const auto asked = request("WIN-0001");
  const auto account =
      must(directory.create_account(asked, must(directory.container("")), ExistingAccount::refuse));
  join_and_judge(std::move(hives), directory, asked, account);
}

TEST_CASE("blobs of Samba are read, and written as Samba writes them" * doctest::skip(!inside())) {
  if (!support::available("net")) return;
  const auto password = read_text(domain_file("password"));
  REQUIRE(support::run_quietly(
      "net offlinejoin provision domain=CORP.ROAM.TEST machine_name=BLOB-1 savefile=" + domain_file("blob") +
      " -U Administrator%" + password.substr(0, password.size() - 1) +
      " --configfile=" + domain_file("client.conf")));
  const auto file = read_text(domain_file("blob"));
  const auto blob = must(parse_odj_text(as_bytes(file)));
  auto directory = must(Directory::connect(by_password()));
  const auto account = must(directory.find_account("BLOB-1")).value();
  CHECK(blob.membership.machine_name == "BLOB-1");
  CHECK(blob.membership.machine_rid == account.rid());
  CHECK(blob.account_sid == account.sid.to_string());
  CHECK(blob.membership.domain.sid == directory.domain().sid);
  CHECK(blob.membership.domain.guid == directory.domain().guid);
  CHECK(blob.membership.domain.netbios_name == "CORP");
  CHECK(blob.membership.domain.dns_forest == "corp.roam.test");
  CHECK(blob.controller.name == "\\\\dc1.corp.roam.test");
  CHECK(as_text(must(write_odj_file(blob))) == file);
  {
    const auto* ours = &directory.controller();
    CHECK(ours->name == blob.controller.name);
    CHECK(ours->address == blob.controller.address);
    CHECK(ours->site == blob.controller.site);
    CHECK(ours->client_site == blob.controller.client_site);
    CHECK(ours->domain_name == blob.controller.domain_name);
    CHECK(ours->domain_guid == blob.controller.domain_guid);
    CHECK((ours->flags & ~blob.controller.flags) == 0);
  }
  // A blob for a clone of ours; what Samba reads in it is what we put there.
  auto ours = make_odj_blob(blob.membership, blob.controller);
  ours.membership.machine_name = "VDI-0007";
  ours.membership.machine_password = random_machine_password();
  ours.controller.client_site = "Branch office";
  write_file(domain_file("ours"), must(write_odj_data(ours)));
  if (!support::available("ndrdump")) return;
  const auto dump =
      output_of("ndrdump ODJ ODJ_PROVISION_DATA_serialized_ptr struct " + domain_file("ours") + " 2>&1");
  for (const auto& line : {std::string("dump OK"), std::string("'VDI-0007'"), std::string("'Branch office'"),
                           blob.membership.domain.sid.to_string(), blob.membership.domain.guid.to_string(),
                           std::string("ODJ_WIN8_FORMAT"), account.sid.to_string()})
    CHECK_MESSAGE(dump.find(line) != std::string::npos, line << "\n" << dump);
}

TEST_CASE("many accounts take little time" * doctest::skip(!inside())) {
  auto directory = must(Directory::connect(by_kerberos()));
  const auto place = must(directory.container(""));
  const char* wanted = std::getenv("ROAMSTEAD_ACCOUNTS");
  const auto count = wanted != nullptr ? std::stoul(wanted) : 25;
  std::vector<AccountRequest> requests;
  for (std::size_t i = 0; i < count; ++i) requests.push_back(request("MANY-" + std::to_string(i)));
  const auto seconds = [](auto work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const auto ours = seconds([&] {
    for (const auto& made : directory.create_accounts(requests, place, ExistingAccount::refuse)) must(made);
  });
  std::printf("%zu accounts over one connection: %.1f a second\n", static_cast<std::size_t>(count),
              static_cast<double>(count) / ours);
  if (!support::available("net")) return;
  constexpr int kTheirs = 4;
  const auto theirs = seconds([&] {
    for (int i = 0; i < kTheirs; ++i)
      CHECK(support::run_quietly("net offlinejoin provision domain=CORP.ROAM.TEST machine_name=NET-" +
                                 std::to_string(i) + " savefile=" + domain_file("blob-" + std::to_string(i)) +
                                 " -U Administrator%$(cat " + domain_file("password") +
                                 ") --configfile=" + domain_file("client.conf")));
  });
  const auto ratio = static_cast<double>(count) / ours / (kTheirs / theirs);
  std::printf("net offlinejoin provision: %.1f a second; ours is %.1f times as fast\n", kTheirs / theirs,
              ratio);
  CHECK(ratio >= 5);
}
