"""azure-identity: tokens by secret and certificate."""

import azure.identity
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential, ClientSecretCredential

from report import Report, true
from simulator import SCOPE, Simulator, certificate

report = Report(f"azure-identity {azure.identity.__version__} (Python)")


def common(simulator):
    return {
        "authority": simulator.https,
        "disable_instance_discovery": True,
        "connection_verify": simulator.ca_file,
    }


@report.capability("token by secret")
def by_secret(simulator):
    credential = ClientSecretCredential(
        simulator.tenant, simulator.client, simulator.secret, **common(simulator)
    )
    true(credential.get_token(SCOPE).token, "an empty token")


@report.capability("wrong secret refused")
def wrong_secret(simulator):
    credential = ClientSecretCredential(simulator.tenant, simulator.client, "wrong", **common(simulator))
    try:
        credential.get_token(SCOPE)
    except ClientAuthenticationError as error:
        true("AADSTS7000215" in str(error), f"another error: {error}")
    else:
        raise AssertionError("a token for a wrong secret")


@report.capability("certificate, PS256 x5t#S256")
def by_certificate(simulator):
    private, public, _ = certificate()
    simulator.add_certificate(public)
    credential = CertificateCredential(
        simulator.tenant,
        simulator.client,
        certificate_data=(private + public).encode(),
        **common(simulator),
    )
    true(credential.get_token(SCOPE).token, "an empty token")


@report.capability("federated assertion")
def by_federation(simulator):
    import time

    import jwt
    from cryptography.hazmat.primitives import serialization

    private, _, _ = certificate()
    key = serialization.load_pem_private_key(private.encode(), None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    simulator.add_federation("https://issuer2.example", "system:postroom", public.decode())

    def assertion():
        now = int(time.time())
        claims = {"iss": "https://issuer2.example", "sub": "system:postroom"}
        claims |= {"aud": "api://AzureADTokenExchange", "iat": now, "nbf": now, "exp": now + 600}
        return jwt.encode(claims, private, algorithm="RS256")

    credential = ClientAssertionCredential(simulator.tenant, simulator.client, assertion, **common(simulator))
    true(credential.get_token(SCOPE).token, "an empty token")


report.run(Simulator.from_arguments())
