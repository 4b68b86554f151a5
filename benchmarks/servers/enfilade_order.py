"""A tool whose arguments and result are models of pydantic."""

from pydantic import BaseModel


class Customer(BaseModel):
    name: str
    email: str
    city: str


class Receipt(BaseModel):
    customer: Customer
    item: str
    quantity: int
    total: float
    express: bool


async def order(item: str, quantity: int, price: float, express: bool, customer: Customer) -> Receipt:
    """Order something."""
    return Receipt(customer=customer, item=item, quantity=quantity, total=quantity * price, express=express)
