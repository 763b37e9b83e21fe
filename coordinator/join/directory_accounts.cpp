// The part of Directory that makes, finds and removes accounts.
#include <deque>
#include <map>

#include "coordinator/join/directory.h"
#include "coordinator/join/ldap_calls.h"
#include "coordinator/join/ldap_search.h"
#include "coordinator/join/pipe_signal.h"

namespace roamstead::join {
namespace {

// A computer that is a member, not a controller (MS-ADTS 2.2.16).
constexpr const char* kWorkstationAccount = "4096";
// Delete with all below (MS-ADTS 3.1.1.3.4.1.15).
constexpr const char* kTreeDelete = "1.2.840.113556.1.4.805";
// How many requests are sent ahead of their answers: enough to hide the network's delay.
constexpr std::size_t kUnderWay = 16;

std::string lower_case(std::string text) {
  for (auto& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}
std::string upper_case_name(std::string text) {
  for (auto& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

// In quotation marks, in UTF-16LE (MS-ADTS 3.1.1.3.1.5.1).
SecretBytes quoted(ByteView password) {
  SecretBytes text;
  text.reserve(password.size() + 4);
  const auto mark = [&] {
    text.push_back(std::byte{'"'});
    text.push_back(std::byte{0});
  };
  mark();
  text.insert(text.end(), password.begin(), password.end());
  mark();
  return text;
}

void add_names(LdapAttributes& attributes, int operation, const std::string& machine,
               const std::string& domain) {
  const auto name = upper_case_name(machine);
  const auto host = lower_case(machine) + "." + domain;
  attributes.add(operation, "userAccountControl", {kWorkstationAccount});
  attributes.add(operation, "dNSHostName", {host});
  attributes.add(operation, "servicePrincipalName",
                 {"HOST/" + name, "HOST/" + host, "RestrictedKrbHost/" + name, "RestrictedKrbHost/" + host});
}

Result<void> check_request(const AccountRequest& request) {
  RS_CHECK(check_machine_name(request.machine_name));
  const auto bytes = request.machine_password.size();
  if (bytes == 0 || bytes % 2 != 0 || bytes > 512)
    return fail(ErrorCode::invalid_argument, "the password for " + request.machine_name + " has " +
                                                 std::to_string(bytes) +
                                                 " bytes; 1 to 256 characters of UTF-16 are possible");
  return {};
}

}  // namespace

Result<int> Directory::send_add(const AccountRequest& request, const std::string& container) {
  RS_CHECK(check_request(request));
  const auto name = upper_case_name(request.machine_name);
  LdapAttributes attributes;
  attributes.add(LDAP_MOD_ADD, "objectClass", {"computer"});
  attributes.add(LDAP_MOD_ADD, "sAMAccountName", {name + "$"});
  add_names(attributes, LDAP_MOD_ADD, request.machine_name, domain_.dns_name);
  attributes.add_secret(LDAP_MOD_ADD, "unicodePwd", quoted(request.machine_password));
  int id = 0;
  const auto place = "CN=" + name + "," + container;
  const int code = ldap_add_ext(connection_.get(), place.c_str(), attributes.list(), nullptr, nullptr, &id);
  if (code != LDAP_SUCCESS) return failure(code, "cannot make the account " + place);
  return id;
}

Result<int> Directory::send_read(const std::string& distinguished_name) {
  const std::vector<std::string> wanted = {"objectSid"};
  auto names = ldap_names(wanted);
  int id = 0;
  const int code =
      ldap_search_ext(connection_.get(), distinguished_name.c_str(), LDAP_SCOPE_BASE, "(objectClass=*)",
                      names.data(), 0, nullptr, nullptr, nullptr, LDAP_NO_LIMIT, &id);
  if (code != LDAP_SUCCESS) return failure(code, "cannot read the account " + distinguished_name);
  return id;
}

std::vector<Result<Account>> Directory::create_accounts(std::span<const AccountRequest> requests,
                                                        const std::string& container,
                                                        ExistingAccount existing) {
  const NoPipeSignal guard;
  std::vector<Result<Account>> answers(
      requests.size(), fail(ErrorCode::unavailable, url_ + ": the connection was lost before the answer"));
  struct Step {
    std::size_t request = 0;
    bool read = false;  // the account is made, its SID is being read
  };
  std::map<int, Step> under_way;
  std::vector<std::size_t> in_the_way;  // something of their name or service principal exists
  std::size_t next = 0;
  const auto place_of = [&](std::size_t index) {
    return "CN=" + upper_case_name(requests[index].machine_name) + "," + container;
  };
  const auto sent = [&](std::size_t index, bool read, Result<int> id) {
    if (id)
      under_way[*id] = {index, read};
    else
      answers[index] = fail(std::move(id).error());
  };
  while (next < requests.size() || !under_way.empty()) {
    while (next < requests.size() && under_way.size() < kUnderWay) {
      sent(next, false, send_add(requests[next], container));
      ++next;
    }
    if (under_way.empty()) continue;
    auto time = ldap_time(timeout_);
    LDAPMessage* chain = nullptr;
    const int kind = ldap_result(connection_.get(), LDAP_RES_ANY, LDAP_MSG_ALL, &time, &chain);
    const LdapMessage owner(chain);
    if (kind <= 0) {
      const auto lost = failure(kind == 0 ? LDAP_TIMEOUT : LDAP_SERVER_DOWN, "making accounts");
      for (const auto& [id, step] : under_way)
        answers[step.request] = fail(
            Error(lost.value()).with("account " + place_of(step.request) + ", which may have been made"));
      return answers;
    }
    const auto found = under_way.find(ldap_msgid(chain));
    if (found == under_way.end()) continue;  // a notice of the server
    const auto step = found->second;
    under_way.erase(found);
    const auto place = place_of(step.request);
    int code = LDAP_SUCCESS;
    char* detail = nullptr;
    if (ldap_parse_result(connection_.get(), chain, &code, nullptr, &detail, nullptr, nullptr, 0) !=
        LDAP_SUCCESS)
      code = LDAP_DECODING_ERROR;
    const std::string said = detail != nullptr ? detail : "";
    ldap_memfree(detail);
    if (code != LDAP_SUCCESS) {
      if (!step.read && (code == LDAP_ALREADY_EXISTS || code == LDAP_CONSTRAINT_VIOLATION))
        in_the_way.push_back(step.request);
      answers[step.request] = fail(ldap_error(
          code, said,
          url_ + ": cannot " + (step.read ? "read the new account " : "make the account ") + place));
    } else if (!step.read) {
      // What is made is told even if its SID cannot be read: who undoes must know of it.
      sent(step.request, true, send_read(place));
    } else {
      const auto entries = ldap_entries(connection_.get(), chain, {"objectSid"});
      auto sid = entries.empty() ? Result<Sid>(fail(ErrorCode::not_found, "nothing there"))
                                 : Sid::from(entries.front().bytes("objectSid"));
      if (sid && sid->parts.size() > 1)
        answers[step.request] = Account{place, std::move(*sid), true};
      else
        answers[step.request] = fail(
            ErrorCode::protocol, url_ + ": the account " + place + " was made, but its SID cannot be read");
    }
  }
  // An account of this name, here or in another container, is what these errors mean most of the time.
  for (const auto index : in_the_way) {
    auto account = find_account(requests[index].machine_name);
    if (!account || !*account) continue;
    if (existing == ExistingAccount::reuse)
      answers[index] = reuse(requests[index], std::move(**account));
    else
      answers[index] =
          fail(ErrorCode::exists, url_ + ": there is an account " + (*account)->distinguished_name +
                                      "; remove it, or let existing accounts be reused");
  }
  return answers;
}

Result<Account> Directory::create_account(const AccountRequest& request, const std::string& container,
                                          ExistingAccount existing) {
  return std::move(create_accounts({&request, 1}, container, existing).front());
}

Result<std::optional<Account>> Directory::find_account(std::string_view machine_name) {
  const NoPipeSignal guard;
  RS_CHECK(check_machine_name(machine_name));
  const LdapSearch search{connection_.get(), url_, timeout_};
  RS_TRY(const auto entries,
         search.all(naming_context_, LDAP_SCOPE_SUBTREE,
                    "(sAMAccountName=" + LdapSearch::escaped(machine_name) + "$)", {"objectSid"}));
  if (entries.empty()) return std::optional<Account>();
  RS_TRY_CTX(auto sid, url_ + ": objectSid of " + entries.front().distinguished_name,
             Sid::from(entries.front().bytes("objectSid")));
  return std::optional<Account>(Account{entries.front().distinguished_name, std::move(sid), false});
}

Result<Account> Directory::reuse(const AccountRequest& request, Account account) {
  LdapAttributes attributes;
  add_names(attributes, LDAP_MOD_REPLACE, request.machine_name, domain_.dns_name);
  attributes.add_secret(LDAP_MOD_REPLACE, "unicodePwd", quoted(request.machine_password));
  const int code = ldap_modify_ext_s(connection_.get(), account.distinguished_name.c_str(), attributes.list(),
                                     nullptr, nullptr);
  if (code != LDAP_SUCCESS)
    return failure(code, "cannot give a new password to the account " + account.distinguished_name);
  return account;
}

Result<void> Directory::delete_account(const std::string& distinguished_name) {
  const NoPipeSignal guard;
  LDAPControl tree{};
  tree.ldctl_oid = const_cast<char*>(kTreeDelete);
  tree.ldctl_iscritical = 1;
  LDAPControl* controls[] = {&tree, nullptr};
  const int code = ldap_delete_ext_s(connection_.get(), distinguished_name.c_str(), controls, nullptr);
  if (code == LDAP_SUCCESS || code == LDAP_NO_SUCH_OBJECT) return {};
  return failure(code, "cannot remove the account " + distinguished_name);
}

}  // namespace roamstead::join
